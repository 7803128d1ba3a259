// A real ASP.NET Core SignalR bridge, our own, that keeps the contract of the legacy one: what the recording shows is
// what this program must answer too. Settings come by environment: BRIDGE_API_KEY, BRIDGE_JWT_SECRET, BRIDGE_ORIGINS.
// It listens where ASPNETCORE_URLS says and prints
// one line `listening <url>` when it does.

using System.Text;
using MessagePack;
using Microsoft.AspNetCore.Authentication.JwtBearer;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http.Connections;
using Microsoft.AspNetCore.SignalR;
using Microsoft.IdentityModel.Tokens;
using SignalRService;
using SignalRService.Hubs;

var builder = WebApplication.CreateBuilder(args);
var settings = builder.Configuration;
var apiKey = settings["BRIDGE_API_KEY"];
var signingKey = new SymmetricSecurityKey(Encoding.UTF8.GetBytes(settings["BRIDGE_JWT_SECRET"]!));
var switches = new Switches(settings);
var origins = (settings["BRIDGE_ORIGINS"] ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries);

builder.Logging.ClearProviders();
builder.Services.AddSingleton<Presence>();
builder.Services.AddSingleton<State>();
builder.Services.AddSingleton(switches);
builder.Services.AddControllers();
builder.Services.AddAuthorization();
builder.Services.AddCors(cors => cors.AddDefaultPolicy(policy =>
    policy.WithOrigins(origins).AllowAnyHeader().AllowAnyMethod().AllowCredentials()));
var signalR = builder.Services.AddSignalR(hubs =>
{
    hubs.KeepAliveInterval = TimeSpan.FromSeconds(15);
    hubs.ClientTimeoutInterval = TimeSpan.FromSeconds(30);
    hubs.MaximumReceiveMessageSize = 1024 * 1024;
    hubs.AddFilter<HubSwitches>();
});
if (switches.MessagePack)
{
    var json = new JsonHubProtocolOptions().PayloadSerializerOptions;
    signalR.AddMessagePackProtocol(options => options.SerializerOptions = MessagePackSerializerOptions.Standard
        .WithResolver(new JsonShapedResolver(json))
        .WithSecurity(MessagePackSecurity.UntrustedData));
}
if (switches.Backplane is { } backplane) signalR.AddStackExchangeRedis(backplane);
if (switches.StreamConsumer is not null) builder.Services.AddHostedService<StreamConsumer>();
builder.Services.AddAuthentication(JwtBearerDefaults.AuthenticationScheme).AddJwtBearer(jwt =>
{
    jwt.TokenValidationParameters = new TokenValidationParameters
    {
        ValidateIssuer = false,
        ValidateAudience = false,
        IssuerSigningKey = signingKey,
    };
    jwt.Events = new JwtBearerEvents
    {
        // Browsers cannot set headers on a WebSocket, so that the token comes in the query.
        OnMessageReceived = context =>
        {
            var token = context.Request.Query["access_token"].ToString();
            if (token != "" && context.Request.Path.StartsWithSegments("/hubs")) context.Token = token;
            return Task.CompletedTask;
        },
    };
});

var app = builder.Build();
app.UseRouting();
app.UseCors();
app.Use(async (context, next) =>
{
    if (context.Request.Path.StartsWithSegments("/internal") && !string.IsNullOrEmpty(apiKey))
    {
        if (!context.Request.Headers.TryGetValue("X-Internal-Api-Key", out var key))
        {
            context.Response.StatusCode = 401;
            await context.Response.WriteAsJsonAsync(new { error = "API key required" });
            return;
        }
        if (key != apiKey)
        {
            context.Response.StatusCode = 403;
            await context.Response.WriteAsJsonAsync(new { error = "Invalid API key" });
            return;
        }
    }
    await next();
});
app.UseAuthentication();
app.UseAuthorization();
app.MapControllers();
app.MapGet("/health", () => new { status = "healthy", timestamp = DateTime.UtcNow });
app.MapHub<ChatHub>("/hubs/chat", SetReconnects);
app.MapHub<TicketHub>("/hubs/ticket", SetReconnects);
app.MapHub<NotificationHub>("/hubs/notification", SetReconnects);
app.MapHub<RemoteAccessHub>("/hubs/remote-access", SetReconnects);
if (switches.AreOpenToTests)
{
    app.MapPost("/test/slow", (Slowness slow) => switches.SlowDown(slow.Method ?? Switches.Broadcasts, slow.Ms));
}

await app.StartAsync();
var addresses = app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses;
Console.WriteLine($"listening {addresses.First()}");
await app.WaitForShutdownAsync();

void SetReconnects(HttpConnectionDispatcherOptions hub) => hub.AllowStatefulReconnects = switches.StatefulReconnects;
