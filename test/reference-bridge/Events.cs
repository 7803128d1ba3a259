// The bodies of the 16 broadcast calls, as System.Text.Json and ASP.NET's validation read them.

using System.Text.Json.Serialization;

namespace SignalRService.Models.Events;

public abstract class BroadcastEvent
{
    [JsonPropertyName("event_id")] public required string EventId { get; set; }
}

public class SenderInfo
{
    public required string Id { get; set; }
    public required string Username { get; set; }
    public string? FullName { get; set; }
    public string? Email { get; set; }
}

public class ChatMessagePayload
{
    public required string Id { get; set; }
    public required string RequestId { get; set; }
    public string? SenderId { get; set; }
    public SenderInfo? Sender { get; set; }
    public required string Content { get; set; }
    public int SequenceNumber { get; set; }
    public bool IsScreenshot { get; set; }
    public string? ScreenshotFileName { get; set; }
    public bool IsRead { get; set; }
    public required string CreatedAt { get; set; }
    public string? UpdatedAt { get; set; }
    public string? ClientTempId { get; set; }
}

public class NotificationMessagePayload
{
    public required string Id { get; set; }
    public required string RequestId { get; set; }
    public string? RequestTitle { get; set; }
    public string? SenderId { get; set; }
    public SenderInfo? Sender { get; set; }
    public required string Content { get; set; }
    public int SequenceNumber { get; set; }
    public bool IsScreenshot { get; set; }
    public string? ScreenshotFileName { get; set; }
    public required string CreatedAt { get; set; }
}

public class RemoteSessionPayload
{
    public required string SessionId { get; set; }
    public required string AgentId { get; set; }
    public string? AgentName { get; set; }
    public required string RequestId { get; set; }
    public string? RequestTitle { get; set; }
    public string Mode { get; set; } = "view";
    public bool AutoApproved { get; set; } = true;
    public bool IsReconnection { get; set; }
}

public class TicketUpdatePayload
{
    public required string Type { get; set; }
    public required object Data { get; set; }
    public required string RequestId { get; set; }
}

public class ChatMessageEvent : BroadcastEvent
{
    [JsonPropertyName("request_id")] public required string RequestId { get; set; }
    [JsonPropertyName("message")] public required ChatMessagePayload Message { get; set; }
}

public class TypingIndicatorEvent : BroadcastEvent
{
    [JsonPropertyName("request_id")] public required string RequestId { get; set; }
    [JsonPropertyName("user_id")] public required string UserId { get; set; }
    [JsonPropertyName("is_typing")] public bool IsTyping { get; set; }
}

public class ReadStatusEvent : BroadcastEvent
{
    [JsonPropertyName("request_id")] public required string RequestId { get; set; }
    [JsonPropertyName("user_id")] public required string UserId { get; set; }
    [JsonPropertyName("message_ids")] public required List<string> MessageIds { get; set; }
}

public class TicketUpdateEvent : BroadcastEvent
{
    [JsonPropertyName("request_id")] public required string RequestId { get; set; }
    [JsonPropertyName("update")] public required TicketUpdatePayload Update { get; set; }
}

public class TaskStatusEvent : BroadcastEvent
{
    [JsonPropertyName("request_id")] public required string RequestId { get; set; }
    [JsonPropertyName("status")] public required string Status { get; set; }
    [JsonPropertyName("changed_by")] public string? ChangedBy { get; set; }
}

public class NewTicketEvent : BroadcastEvent
{
    [JsonPropertyName("requester_id")] public required string RequesterId { get; set; }
    [JsonPropertyName("assigned_to_id")] public string? AssignedToId { get; set; }
    [JsonPropertyName("ticket")] public required object Ticket { get; set; }
}

public class SystemMessageEvent : BroadcastEvent
{
    [JsonPropertyName("request_id")] public required string RequestId { get; set; }
    [JsonPropertyName("type")] public required string Type { get; set; }
    [JsonPropertyName("message")] public required ChatMessagePayload Message { get; set; }
}

public class NewMessageNotificationEvent : BroadcastEvent
{
    [JsonPropertyName("request_id")] public required string RequestId { get; set; }
    [JsonPropertyName("message")] public required NotificationMessagePayload Message { get; set; }
    [JsonPropertyName("sender_id")] public string? SenderId { get; set; }
}

public class UserNotificationEvent : BroadcastEvent
{
    [JsonPropertyName("user_id")] public required string UserId { get; set; }
    [JsonPropertyName("notification")] public required object Notification { get; set; }
}

public class SubscriptionEvent : BroadcastEvent
{
    [JsonPropertyName("user_id")] public required string UserId { get; set; }
    [JsonPropertyName("request_id")] public required string RequestId { get; set; }
}

public class RemoteSessionEvent : BroadcastEvent
{
    [JsonPropertyName("requester_id")] public required string RequesterId { get; set; }
    [JsonPropertyName("session")] public required RemoteSessionPayload Session { get; set; }
}

public class SessionEndedEvent : BroadcastEvent
{
    [JsonPropertyName("session_id")] public required string SessionId { get; set; }
    [JsonPropertyName("reason")] public required string Reason { get; set; }
    [JsonPropertyName("ended_by")] public string? EndedBy { get; set; }
}

public class UacEvent : BroadcastEvent
{
    [JsonPropertyName("session_id")] public required string SessionId { get; set; }
    [JsonPropertyName("agent_id")] public required string AgentId { get; set; }
}
