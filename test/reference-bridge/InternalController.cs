// The backend's side: the 16 broadcast calls and the reads. A 200 comes after the messages were written to every member.

using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.SignalR;
using SignalRService.Hubs;
using SignalRService.Models.Events;

namespace SignalRService;

[ApiController]
[Route("internal")]
public class InternalController(
    State state,
    Switches switches,
    IHubContext<ChatHub> chat,
    IHubContext<TicketHub> ticket,
    IHubContext<NotificationHub> notification,
    IHubContext<RemoteAccessHub> remote) : ControllerBase
{
    private const string UacText = "Waiting for user to complete UAC prompt...";

    [HttpPost("chat/message")]
    public Task<IActionResult> Message(ChatMessageEvent evt) => Broadcast(evt, () =>
        chat.Clients.Group($"request:{evt.RequestId}").SendAsync("ReceiveMessage", evt.Message));

    [HttpPost("chat/typing")]
    public Task<IActionResult> Typing(TypingIndicatorEvent evt) => Broadcast(evt, () =>
        chat.Clients.Group($"request:{evt.RequestId}").SendAsync("TypingIndicator",
            new { requestId = evt.RequestId, userId = evt.UserId, isTyping = evt.IsTyping }));

    [HttpPost("chat/read-status")]
    public Task<IActionResult> ReadStatus(ReadStatusEvent evt) => Broadcast(evt, () =>
        chat.Clients.Group($"request:{evt.RequestId}").SendAsync("ReadStatusUpdate",
            new { requestId = evt.RequestId, userId = evt.UserId, messageIds = evt.MessageIds }));

    [HttpPost("ticket/update")]
    public Task<IActionResult> TicketUpdate(TicketUpdateEvent evt) => Broadcast(evt, async () =>
    {
        await chat.Clients.Group($"request:{evt.RequestId}").SendAsync("TicketUpdate", evt.Update);
        await ticket.Clients.Group($"ticket:{evt.RequestId}").SendAsync("TicketUpdate", evt.Update);
    });

    [HttpPost("ticket/task-status")]
    public Task<IActionResult> TaskStatus(TaskStatusEvent evt) => Broadcast(evt, async () =>
    {
        var status = new { requestId = evt.RequestId, status = evt.Status, changedBy = evt.ChangedBy };
        await chat.Clients.Group($"request:{evt.RequestId}").SendAsync("TaskStatusChanged", status);
        await ticket.Clients.Group($"ticket:{evt.RequestId}").SendAsync("TaskStatusChanged", status);
    });

    [HttpPost("ticket/new")]
    public Task<IActionResult> NewTicket(NewTicketEvent evt) => Broadcast(evt, async () =>
    {
        await ticket.Clients.Group($"user-tickets:{evt.RequesterId}").SendAsync("NewTicket", evt.Ticket);
        if (string.IsNullOrEmpty(evt.AssignedToId)) return;
        await ticket.Clients.Group($"user-tickets:{evt.AssignedToId}").SendAsync("NewTicket", evt.Ticket);
    });

    [HttpPost("ticket/system-message")]
    public Task<IActionResult> SystemMessage(SystemMessageEvent evt) => Broadcast(evt, () =>
        chat.Clients.Group($"request:{evt.RequestId}").SendAsync("ReceiveMessage", evt.Message));

    [HttpPost("notification/new-message")]
    public Task<IActionResult> NewMessage(NewMessageNotificationEvent evt) => Broadcast(evt, () =>
        notification.Clients.Group($"request-notifications:{evt.RequestId}")
            .SendAsync("NewMessageNotification", evt.Message));

    [HttpPost("notification/send")]
    public Task<IActionResult> Notify(UserNotificationEvent evt) => Broadcast(evt, () =>
        notification.Clients.Group($"notifications:{evt.UserId}").SendAsync("Notification", evt.Notification));

    [HttpPost("notification/subscription-added")]
    public Task<IActionResult> SubscriptionAdded(SubscriptionEvent evt) => Broadcast(evt, () =>
        notification.Clients.Group($"notifications:{evt.UserId}")
            .SendAsync("SubscriptionAdded", new { requestId = evt.RequestId }));

    [HttpPost("notification/subscription-removed")]
    public Task<IActionResult> SubscriptionRemoved(SubscriptionEvent evt) => Broadcast(evt, () =>
        notification.Clients.Group($"notifications:{evt.UserId}")
            .SendAsync("SubscriptionRemoved", new { requestId = evt.RequestId }));

    [HttpPost("remote-access/auto-start")]
    public Task<IActionResult> AutoStart(RemoteSessionEvent evt) => Broadcast(evt, async () =>
    {
        await notification.Clients.Group($"notifications:{evt.RequesterId}")
            .SendAsync("RemoteSessionAutoStart", evt.Session);
        await chat.Clients.Group($"user:{evt.RequesterId}").SendAsync("RemoteSessionAutoStart", evt.Session);
    });

    [HttpPost("remote-access/ended")]
    public Task<IActionResult> Ended(SessionEndedEvent evt) => Broadcast(evt, () =>
        remote.Clients.Group($"remote-access:{evt.SessionId}").SendAsync("SessionEnded",
            new { sessionId = evt.SessionId, reason = evt.Reason, endedBy = evt.EndedBy }));

    [HttpPost("remote-access/reconnect")]
    public Task<IActionResult> Reconnect(RemoteSessionEvent evt) => Broadcast(evt, () =>
        notification.Clients.Group($"notifications:{evt.RequesterId}")
            .SendAsync("RemoteSessionReconnect", evt.Session));

    [HttpPost("remote-access/uac-detected")]
    public Task<IActionResult> UacDetected(UacEvent evt) => Broadcast(evt, () =>
        remote.Clients.Group($"remote-access:{evt.SessionId}")
            .SendAsync("UacDetected", new { sessionId = evt.SessionId, message = UacText }));

    [HttpPost("remote-access/uac-dismissed")]
    public Task<IActionResult> UacDismissed(UacEvent evt) => Broadcast(evt, () =>
        remote.Clients.Group($"remote-access:{evt.SessionId}")
            .SendAsync("UacDismissed", new { sessionId = evt.SessionId }));

    [HttpGet("stats")]
    public object Stats() => state.Stats();

    [HttpGet("users/{userId}/online")]
    public object Online(string userId)
    {
        var connectionCount = state.ConnectionsOf(userId);
        return new { userId, isOnline = connectionCount > 0, connectionCount };
    }

    private async Task<IActionResult> Broadcast(BroadcastEvent evt, Func<Task> send)
    {
        if (!state.Remember(evt.EventId)) return Ok(new { duplicate = true });
        await switches.Wait(Switches.Broadcasts);
        await send();
        return Ok(new { broadcast = true });
    }
}
