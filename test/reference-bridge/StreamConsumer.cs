// The first attempt's stream consumer, as some builds of the legacy bridge still run it: group `signalr-consumers` over
// all four streams, polled every 100 ms. It shows whatever it reads, by its event type alone, and acknowledges it.

using System.Text.Json;
using Microsoft.AspNetCore.SignalR;
using SignalRService.Hubs;
using StackExchange.Redis;

namespace SignalRService;

public sealed class StreamConsumer(
    Switches switches,
    IHubContext<ChatHub> chat,
    IHubContext<TicketHub> ticket,
    IHubContext<NotificationHub> notification,
    IHubContext<RemoteAccessHub> remote) : BackgroundService
{
    private const string Group = "signalr-consumers";
    private static readonly string[] Streams = ["events:chat", "events:ticket", "events:notification", "events:remote"];
    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(100);
    private readonly string consumer = $"bridge-{Environment.ProcessId}";

    protected override async Task ExecuteAsync(CancellationToken stopping)
    {
        using var redis = await ConnectionMultiplexer.ConnectAsync(switches.StreamConsumer!);
        var database = redis.GetDatabase();
        while (!stopping.IsCancellationRequested)
        {
            try
            {
                await CreateGroups(database);
                await ReadOn(database, stopping);
            }
            catch (Exception error) when (error is RedisException or TimeoutException)
            {
                // Redis is away, or came back empty: the groups are made anew.
                await Task.Delay(PollInterval, stopping);
            }
        }
    }

    private static async Task CreateGroups(IDatabase database)
    {
        foreach (var stream in Streams)
        {
            try
            {
                // From the very first entry, as the first attempt did.
                await database.StreamCreateConsumerGroupAsync(stream, Group, StreamPosition.Beginning);
            }
            catch (RedisServerException error) when (error.Message.StartsWith("BUSYGROUP"))
            {
                // It was there before.
            }
        }
    }

    private async Task ReadOn(IDatabase database, CancellationToken stopping)
    {
        var positions = Streams.Select(stream => new StreamPosition(stream, StreamPosition.NewMessages)).ToArray();
        while (!stopping.IsCancellationRequested)
        {
            foreach (var stream in await database.StreamReadGroupAsync(positions, Group, consumer))
            {
                foreach (var entry in stream.Entries)
                {
                    await Show(entry);
                    await database.StreamAcknowledgeAsync(stream.Key, Group, entry.Id);
                }
            }
            await Task.Delay(PollInterval, stopping);
        }
    }

    private async Task Show(StreamEntry entry)
    {
        var payload = JsonSerializer.Deserialize<JsonElement>((string)entry["payload"]!);
        foreach (var (clients, group, method) in DeliveriesOf(entry["event_type"]!, entry["room_id"]!))
        {
            await clients.Group(group).SendAsync(method, payload);
        }
    }

    private (IHubClients Clients, string Group, string Method)[] DeliveriesOf(string eventType, string room) =>
        eventType switch
        {
            "chat_message" => [(chat.Clients, $"request:{room}", "ReceiveMessage")],
            "typing_start" or "typing_stop" => [(chat.Clients, $"request:{room}", "TypingIndicator")],
            "read_receipt" => [(chat.Clients, $"request:{room}", "ReadStatusUpdate")],
            "status_change" or "assignment_change" =>
            [
                (chat.Clients, $"request:{room}", "TicketUpdate"),
                (ticket.Clients, $"ticket:{room}", "TicketUpdate"),
            ],
            "ticket_list_update" => [(ticket.Clients, $"user-tickets:{room}", "NewTicket")],
            "notification" => [(notification.Clients, $"notifications:{room}", "Notification")],
            "remote_session_start" =>
            [
                (notification.Clients, $"notifications:{room}", "RemoteSessionAutoStart"),
                (chat.Clients, $"user:{room}", "RemoteSessionAutoStart"),
            ],
            "remote_session_end" => [(remote.Clients, $"remote-access:{room}", "SessionEnded")],
            _ => [],
        };
}
