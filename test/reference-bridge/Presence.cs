// Who is at which desktop, as the legacy bridge tells it to the backend by Redis: a connection whose URL names a session sets the keys, the
// end of its user's last connection removes those of all his sessions.

using StackExchange.Redis;

namespace SignalRService;

public sealed class Presence(Switches switches)
{
    private static readonly TimeSpan Ttl = TimeSpan.FromSeconds(660);

    private readonly Lazy<Task<ConnectionMultiplexer>> redis =
        new(() => ConnectionMultiplexer.ConnectAsync(switches.Presence!));

    public async Task Begin(string user, string session)
    {
        if (switches.Presence is null || session == "") return;
        var database = (await redis.Value).GetDatabase();
        await database.StringSetAsync(DesktopKey(session), user, Ttl);
        await database.SetAddAsync(UserKey(user), session);
        await database.KeyExpireAsync(UserKey(user), Ttl);
    }

    public async Task End(string user)
    {
        if (switches.Presence is null) return;
        var database = (await redis.Value).GetDatabase();
        var sessions = await database.SetMembersAsync(UserKey(user));
        await database.KeyDeleteAsync([UserKey(user), .. sessions.Select(session => DesktopKey(session.ToString()))]);
    }

    private static RedisKey DesktopKey(string session) => $"presence:desktop:{session}";

    private static RedisKey UserKey(string user) => $"presence:user:{user}";
}
