// What the bridge remembers: event ids for 5 minutes, connections per user, members of chat rooms.

using System.Collections.Concurrent;

namespace SignalRService;

public sealed class State(Presence presence)
{
    private static readonly TimeSpan IdempotencyTtl = TimeSpan.FromMinutes(5);
    private readonly ConcurrentDictionary<string, DateTime> ids = new();
    private readonly ConcurrentDictionary<string, string> connections = new();
    private readonly ConcurrentDictionary<(string Room, string Connection), byte> rooms = new();

    public Presence Presence { get; } = presence;

    /// <summary>Whether the id is new; an empty one always is.</summary>
    public bool Remember(string eventId)
    {
        if (eventId == "") return true;
        var now = DateTime.UtcNow;
        foreach (var (id, seen) in ids) if (now - seen > IdempotencyTtl) ids.TryRemove(id, out _);
        return ids.TryAdd(eventId, now);
    }

    public void Connected(string connectionId, string user) => connections[connectionId] = user;

    public void Disconnected(string connectionId)
    {
        connections.TryRemove(connectionId, out _);
        foreach (var member in rooms.Keys) if (member.Connection == connectionId) rooms.TryRemove(member, out _);
    }

    public void Joined(string room, string connectionId) => rooms[(room, connectionId)] = 0;

    public void Left(string room, string connectionId) => rooms.TryRemove((room, connectionId), out _);

    public int ConnectionsOf(string user) => connections.Values.Count(each => each == user);

    public object Stats() => new
    {
        connections = connections.Count,
        users = connections.Values.Distinct().Count(),
        rooms = rooms.Keys.Select(member => member.Room).Distinct().Count(),
        idempotencyEntries = ids.Count,
    };
}
