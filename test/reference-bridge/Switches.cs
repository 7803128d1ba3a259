// What a test may ask of the bridge beyond what the legacy one does. Each switch comes by environment and is off where its
// variable is not set; delays may also be changed while the bridge runs (POST /test/slow).

using System.Collections.Concurrent;

namespace SignalRService;

public sealed class Switches
{
    /// <summary>Beside the hub methods' own names: what is slow is every broadcast call.</summary>
    public const string Broadcasts = "broadcasts";

    /// <summary>Beside the hub methods' own names: what is slow is a hub's connect, its joins included.</summary>
    public const string Connect = "connect";

    private readonly ConcurrentDictionary<string, int> delaysMs = new(StringComparer.OrdinalIgnoreCase);

    public Switches(IConfiguration settings)
    {
        MessagePack = settings["BRIDGE_MESSAGEPACK"] == "1";
        StatefulReconnects = settings["BRIDGE_STATEFUL"] == "1";
        Backplane = settings["BRIDGE_BACKPLANE"];
        StreamConsumer = settings["BRIDGE_STREAM_CONSUMER"];
        Presence = settings["BRIDGE_PRESENCE"];
        AreOpenToTests = settings["BRIDGE_TEST_SWITCHES"] == "1";
        RoomsRefusedByException = ListOf(settings["BRIDGE_REFUSE_THROW"]);
        RoomsRefusedInSilence = ListOf(settings["BRIDGE_REFUSE_SILENT"]);
        UsersRefused = ListOf(settings["BRIDGE_REFUSE_USERS"]);
        SlowDown(Broadcasts, int.Parse(settings["BRIDGE_SLOW_MS"] ?? "0"));
    }

    public bool MessagePack { get; }

    public bool StatefulReconnects { get; }

    /// <summary>The Redis of SignalR's backplane, as StackExchange.Redis writes it.</summary>
    public string? Backplane { get; }

    /// <summary>The Redis whose streams the first attempt's consumer reads, as StackExchange.Redis writes it.</summary>
    public string? StreamConsumer { get; }

    /// <summary>The Redis in which presence keys are kept, as StackExchange.Redis writes it.</summary>
    public string? Presence { get; }

    /// <summary>Whether POST /test/slow exists.</summary>
    public bool AreOpenToTests { get; }

    public IReadOnlySet<string> RoomsRefusedByException { get; }

    public IReadOnlySet<string> RoomsRefusedInSilence { get; }

    public IReadOnlySet<string> UsersRefused { get; }

    /// <param name="what">Broadcasts, Connect or a hub method.</param>
    public void SlowDown(string what, int ms) => delaysMs[what] = ms;

    public Task Wait(string what) =>
        delaysMs.TryGetValue(what, out var ms) && ms > 0 ? Task.Delay(ms) : Task.CompletedTask;

    private static HashSet<string> ListOf(string? text) =>
        [.. (text ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries)];
}

/// <summary>The body of POST /test/slow; without a method it is about broadcasts.</summary>
public sealed record Slowness(int Ms, string? Method);
