// MessagePack for the hubs, in the shape of their JSON: the same members under the same names, the same values.
// Whatever a hub sends is written as JSON first and from there natively: integers as integers, other numbers as float64.
// What a client sends comes in the other way round, so that arguments bind by the rules of JSON, JsonElement included.

using System.Collections.Concurrent;
using System.Text.Json;
using MessagePack;
using MessagePack.Formatters;

namespace SignalRService;

public sealed class JsonShapedResolver(JsonSerializerOptions json) : IFormatterResolver
{
    private readonly ConcurrentDictionary<Type, object> formatters = new();

    public IMessagePackFormatter<T> GetFormatter<T>() =>
        (IMessagePackFormatter<T>)formatters.GetOrAdd(typeof(T), _ => new JsonShapedFormatter<T>(json));
}

internal sealed class JsonShapedFormatter<T>(JsonSerializerOptions json) : IMessagePackFormatter<T?>
{
    public void Serialize(ref MessagePackWriter writer, T? value, MessagePackSerializerOptions options) =>
        Write(ref writer, JsonSerializer.SerializeToElement(value, json));

    public T? Deserialize(ref MessagePackReader reader, MessagePackSerializerOptions options)
    {
        var text = new StringWriter();
        MessagePackSerializer.ConvertToJson(ref reader, text, options);
        return JsonSerializer.Deserialize<T>(text.ToString(), json);
    }

    private static void Write(ref MessagePackWriter writer, JsonElement value)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.Object:
                WriteMap(ref writer, value);
                break;
            case JsonValueKind.Array:
                writer.WriteArrayHeader(value.GetArrayLength());
                foreach (var item in value.EnumerateArray()) Write(ref writer, item);
                break;
            case JsonValueKind.String:
                writer.Write(value.GetString());
                break;
            case JsonValueKind.Number:
                WriteNumber(ref writer, value);
                break;
            case JsonValueKind.True or JsonValueKind.False:
                writer.Write(value.GetBoolean());
                break;
            default:
                writer.WriteNil();
                break;
        }
    }

    private static void WriteMap(ref MessagePackWriter writer, JsonElement value)
    {
        writer.WriteMapHeader(value.GetPropertyCount());
        foreach (var member in value.EnumerateObject())
        {
            writer.Write(member.Name);
            Write(ref writer, member.Value);
        }
    }

    /// <summary>An integer is what is written as one: `1.0` and `1e3` are float64.</summary>
    private static void WriteNumber(ref MessagePackWriter writer, JsonElement value)
    {
        if (value.TryGetInt64(out var integer)) writer.Write(integer);
        else if (value.TryGetUInt64(out var large)) writer.Write(large);
        else writer.Write(value.GetDouble());
    }
}
