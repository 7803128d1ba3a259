// The clients' side: the four hubs. An empty or missing id makes a method return without doing anything.

using System.Collections.Concurrent;
using System.Text.Json;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.SignalR;

namespace SignalRService.Hubs;

[Authorize]
public abstract class UserHub(State state) : Hub
{
    protected State State { get; } = state;
    protected string User => Context.UserIdentifier!;

    public override async Task OnConnectedAsync()
    {
        if (Context.UserIdentifier is null)
        {
            Context.Abort();
            return;
        }
        State.Connected(Context.ConnectionId, User);
        await State.Presence.Begin(User, Context.GetHttpContext()!.Request.Query["sessionId"].ToString());
        await OnUserConnectedAsync();
    }

    public override async Task OnDisconnectedAsync(Exception? exception)
    {
        State.Disconnected(Context.ConnectionId);
        if (Context.UserIdentifier is { } user && State.ConnectionsOf(user) == 0) await State.Presence.End(user);
    }

    protected virtual Task OnUserConnectedAsync() => Task.CompletedTask;

    protected Task Join(string group) => Groups.AddToGroupAsync(Context.ConnectionId, group);

    protected Task Leave(string group) => Groups.RemoveFromGroupAsync(Context.ConnectionId, group);
}

public class ChatHub(State state) : UserHub(state)
{
    protected override Task OnUserConnectedAsync() => Join($"user:{User}");

    public async Task JoinRoom(string? requestId)
    {
        if (string.IsNullOrEmpty(requestId)) return;
        await Join($"request:{requestId}");
        State.Joined(requestId, Context.ConnectionId);
        await Clients.Caller.SendAsync("RoomJoined", requestId);
    }

    public async Task LeaveRoom(string? requestId)
    {
        if (string.IsNullOrEmpty(requestId)) return;
        await Leave($"request:{requestId}");
        State.Left(requestId, Context.ConnectionId);
        await Clients.Caller.SendAsync("RoomLeft", requestId);
    }

    public async Task SendTyping(string? requestId, bool isTyping)
    {
        if (string.IsNullOrEmpty(requestId)) return;
        await Clients.OthersInGroup($"request:{requestId}")
            .SendAsync("TypingIndicator", new { requestId, userId = User, isTyping });
    }

    public async Task MarkRead(string? requestId, List<string>? messageIds)
    {
        if (string.IsNullOrEmpty(requestId) || messageIds is null or []) return;
        await Clients.OthersInGroup($"request:{requestId}")
            .SendAsync("ReadStatusUpdate", new { requestId, userId = User, messageIds });
    }
}

public class TicketHub(State state) : UserHub(state)
{
    public async Task SubscribeToTicket(string? requestId)
    {
        if (string.IsNullOrEmpty(requestId)) return;
        await Join($"ticket:{requestId}");
        await Clients.Caller.SendAsync("TicketSubscribed", requestId);
    }

    public async Task UnsubscribeFromTicket(string? requestId)
    {
        if (string.IsNullOrEmpty(requestId)) return;
        await Leave($"ticket:{requestId}");
        await Clients.Caller.SendAsync("TicketUnsubscribed", requestId);
    }

    public async Task SubscribeToUserTickets()
    {
        await Join($"user-tickets:{User}");
        await Clients.Caller.SendAsync("UserTicketsSubscribed");
    }

    public async Task UnsubscribeFromUserTickets()
    {
        await Leave($"user-tickets:{User}");
        await Clients.Caller.SendAsync("UserTicketsUnsubscribed");
    }
}

public class NotificationHub(State state) : UserHub(state)
{
    protected override async Task OnUserConnectedAsync()
    {
        await Join($"notifications:{User}");
        await Clients.Caller.SendAsync("Connected", new { userId = User });
    }

    public Task SetActiveChat(string? requestId) => Clients.Caller.SendAsync("ActiveChatSet", requestId);

    public Task RefreshSubscriptions() => Clients.Caller.SendAsync("SubscriptionsRefreshed");
}

public class RemoteAccessHub(State state) : UserHub(state)
{
    private const string UacText = "Waiting for user to complete UAC prompt...";
    private static readonly ConcurrentDictionary<(string Connection, string Session), byte> Sessions = new();

    public async Task JoinSession(string? sessionId, string? participantType)
    {
        if (string.IsNullOrEmpty(sessionId)) return;
        await Join(GroupOf(sessionId));
        Sessions[(Context.ConnectionId, sessionId)] = 0;
        await Clients.Caller.SendAsync("SessionJoined", new { sessionId, participantType });
        await Others(sessionId, "ParticipantJoined", new { sessionId, participantType, userId = User });
    }

    public async Task LeaveSession(string? sessionId)
    {
        if (string.IsNullOrEmpty(sessionId)) return;
        await Others(sessionId, "ParticipantLeft", new { sessionId, userId = User });
        Sessions.TryRemove((Context.ConnectionId, sessionId), out _);
        await Leave(GroupOf(sessionId));
        await Clients.Caller.SendAsync("SessionLeft", sessionId);
    }

    public async Task SendSignal(string? sessionId, string? type, JsonElement payload)
    {
        if (string.IsNullOrEmpty(sessionId) || string.IsNullOrEmpty(type)) return;
        await Others(sessionId, type, new { sessionId, payload, fromUserId = User });
    }

    public Task SendSdpOffer(string? sessionId, JsonElement offer) => SendSignal(sessionId, "SdpOffer", offer);

    public Task SendSdpAnswer(string? sessionId, JsonElement answer) => SendSignal(sessionId, "SdpAnswer", answer);

    public Task SendIceCandidate(string? sessionId, JsonElement candidate) =>
        SendSignal(sessionId, "IceCandidate", candidate);

    public Task EnableControl(string? sessionId) => Tell(sessionId, "ControlEnabled", new { sessionId });

    public Task DisableControl(string? sessionId) => Tell(sessionId, "ControlDisabled", new { sessionId });

    public Task NotifyUacDetected(string? sessionId) =>
        Tell(sessionId, "UacDetected", new { sessionId, message = UacText });

    public Task NotifyUacDismissed(string? sessionId) => Tell(sessionId, "UacDismissed", new { sessionId });

    public override async Task OnDisconnectedAsync(Exception? exception)
    {
        foreach (var joined in Sessions.Keys.Where(each => each.Connection == Context.ConnectionId))
        {
            Sessions.TryRemove(joined, out _);
            await Others(joined.Session, "ParticipantLeft", new { sessionId = joined.Session, userId = User });
        }
        await base.OnDisconnectedAsync(exception);
    }

    private Task Tell(string? sessionId, string method, object argument) =>
        string.IsNullOrEmpty(sessionId) ? Task.CompletedTask : Others(sessionId, method, argument);

    private Task Others(string sessionId, string method, object argument) =>
        Clients.OthersInGroup(GroupOf(sessionId)).SendAsync(method, argument);

    private static string GroupOf(string sessionId) => $"remote-access:{sessionId}";
}
