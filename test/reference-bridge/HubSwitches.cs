// The switches at the hubs' doors: a connect may be refused or slow, a method may be slow, a room may be refused by an
// exception or in silence (the method completes, but nobody joined and nothing is confirmed).

using Microsoft.AspNetCore.SignalR;

namespace SignalRService;

public sealed class HubSwitches(Switches switches) : IHubFilter
{
    private static readonly HashSet<string> Joining = ["JoinRoom", "SubscribeToTicket", "JoinSession"];

    public async Task OnConnectedAsync(HubLifetimeContext context, Func<HubLifetimeContext, Task> next)
    {
        await switches.Wait(Switches.Connect);
        if (context.Context.UserIdentifier is { } user && switches.UsersRefused.Contains(user)) context.Context.Abort();
        else await next(context);
    }

    public async ValueTask<object?> InvokeMethodAsync(
        HubInvocationContext invocation, Func<HubInvocationContext, ValueTask<object?>> next)
    {
        await switches.Wait(invocation.HubMethodName);
        if (Joining.Contains(invocation.HubMethodName) && invocation.HubMethodArguments[0] is string room)
        {
            if (switches.RoomsRefusedByException.Contains(room)) throw new InvalidOperationException($"no entry: {room}");
            if (switches.RoomsRefusedInSilence.Contains(room)) return null;
        }
        return await next(invocation);
    }
}
