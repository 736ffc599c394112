//! Forms of the starter application for published versions, in a program of our own: hooks with lists of macros, errors
//! as JSON, logs of requests, an event stream, a chat over the plugin for WebSockets, configuration and shutdown by
//! static values. Also streams over transports of the program.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use test_support::{Client, address, eventually};

/// The program. Its types have getters of their own where the starter derives them.
#[allow(unused_variables, reason = "the program's own")]
mod starter {
    use std::{
        net::SocketAddr,
        sync::{Arc, Mutex, OnceLock},
    };

    use hyperlane::{
        compat::websocket::{WebSocket, WebSocketConfig},
        *,
    };
    use hyperlane_broadcast::*;
    use serde::{Deserialize, Serialize};

    const ID_KEY: &str = "id";

    // -------------------------------------------------------------------------------------------- plugins

    static SHUTDOWN: OnceLock<ServerControlHookHandler<()>> = OnceLock::new();
    static GLOBAL_WEBSOCKET: OnceLock<WebSocket> = OnceLock::new();
    pub(super) static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

    pub(super) struct ShutdownPlugin;

    impl ShutdownPlugin {
        fn get_init() -> ServerControlHookHandler<()> {
            Arc::new(|| Box::pin(async {}))
        }

        pub(super) fn get_or_init() -> &'static ServerControlHookHandler<()> {
            SHUTDOWN.get_or_init(Self::get_init)
        }

        fn set(shutdown: &ServerControlHookHandler<()>) {
            drop(SHUTDOWN.set(shutdown.clone()));
        }
    }

    pub(super) fn get_global_websocket() -> &'static WebSocket {
        GLOBAL_WEBSOCKET.get_or_init(WebSocket::new)
    }

    async fn get_request_json(ctx: &Context) -> String {
        let mut request: Request = ctx.get_request().clone();
        request.set_body(request.get_body().len().to_string().into_bytes());
        serde_json::to_string(&request).unwrap_or(request.to_string())
    }

    async fn get_response_json(ctx: &Context) -> String {
        let mut response: Response = ctx.get_response().clone();
        response.set_body(response.get_body().len().to_string().into_bytes());
        serde_json::to_string(&response).unwrap_or(response.to_string())
    }

    async fn try_send_body_hook(
        stream: &mut Stream,
        ctx: &mut Context,
    ) -> Result<(), ResponseError> {
        let send_result: Result<(), ResponseError> = if ctx.get_request().is_ws_upgrade_type() {
            let body: &ResponseBody = ctx.get_response().get_body();
            let frame_list: Vec<ResponseBody> = WebSocketFrame::create_frame_list(body);
            stream.try_send_list(&frame_list).await
        } else {
            let body: &Vec<u8> = ctx.get_response().get_body();
            stream.try_send(body).await
        };
        if send_result.is_err() {
            stream.set_closed(true);
        }
        send_result
    }

    #[derive(Serialize)]
    struct ApiResponse<T> {
        code: usize,
        data: T,
    }

    impl<T: Serialize> ApiResponse<T> {
        fn new(code: usize, data: T) -> Self {
            Self { code, data }
        }

        fn to_json_bytes(&self) -> ResponseBody {
            serde_json::to_vec(self).unwrap_or_default()
        }
    }

    // -------------------------------------------------------------------------------------------- errors

    #[task_panic]
    #[derive(Clone, Debug, Default)]
    pub(super) struct TaskPanicHook {
        content_type: String,
        response_body: String,
    }

    impl ServerHook for TaskPanicHook {
        #[task_panic_data(task_panic_data)]
        async fn new(_stream: &mut Stream, ctx: &mut Context) -> Self {
            Self {
                content_type: ContentType::format_content_type_with_charset(APPLICATION_JSON, UTF8),
                response_body: task_panic_data.to_string(),
            }
        }

        #[prologue_macros(
            response_version(HttpVersion::Http1_1),
            response_status_code(500),
            clear_response_headers,
            response_header(SERVER => HYPERLANE),
            response_header(CONTENT_TYPE, &self.content_type),
        )]
        #[epilogue_macros(response_body(&response_body), try_send)]
        async fn handle(self, _stream: &mut Stream, ctx: &mut Context) -> Status {
            LOG.lock()
                .unwrap()
                .push(format!("panic => {}", ctx.get_request()));
            let api_response: ApiResponse<&str> = ApiResponse::new(500, &self.response_body);
            let response_body: Vec<u8> = api_response.to_json_bytes();
            Status::Continue
        }
    }

    #[request_error]
    #[derive(Clone, Debug, Default)]
    pub(super) struct RequestErrorHook {
        response_status_code: ResponseStatusCode,
        content_type: String,
        response_body: String,
    }

    impl ServerHook for RequestErrorHook {
        #[request_error_data(request_error_data)]
        async fn new(_stream: &mut Stream, _ctx: &mut Context) -> Self {
            Self {
                response_status_code: request_error_data.get_http_status_code(),
                content_type: ContentType::format_content_type_with_charset(APPLICATION_JSON, UTF8),
                response_body: request_error_data.to_string(),
            }
        }

        #[prologue_macros(
            response_version(HttpVersion::Http1_1),
            response_status_code(self.response_status_code),
            clear_response_headers,
            response_header(SERVER => HYPERLANE),
            response_header(CONTENT_TYPE, &self.content_type),
            response_header(TRACE => "1"),
        )]
        #[epilogue_macros(response_body(&response_body), try_send)]
        async fn handle(self, _stream: &mut Stream, ctx: &mut Context) -> Status {
            if self.response_status_code == HttpStatus::BadRequest.code() {
                return Status::Reject;
            }
            let api_response: ApiResponse<&str> =
                ApiResponse::new(self.response_status_code, &self.response_body);
            let response_body: Vec<u8> = api_response.to_json_bytes();
            Status::Continue
        }
    }

    // -------------------------------------------------------------------------------------------- middleware

    #[request_middleware(1)]
    pub(super) struct HttpRequestMiddleware;

    impl ServerHook for HttpRequestMiddleware {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[prologue_macros(
            reject(ctx.get_request().get_version().is_http()),
            send,
        )]
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            stream.set_closed(true);
            Status::Reject
        }
    }

    #[request_middleware(2)]
    pub(super) struct CrossMiddleware;

    impl ServerHook for CrossMiddleware {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[response_version(HttpVersion::Http1_1)]
        #[response_header(ACCESS_CONTROL_ALLOW_ORIGIN => WILDCARD_ANY)]
        #[response_header(ACCESS_CONTROL_ALLOW_METHODS => ALL_METHODS)]
        #[response_header(ACCESS_CONTROL_ALLOW_HEADERS => WILDCARD_ANY)]
        async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
            Status::Continue
        }
    }

    #[request_middleware(3)]
    pub(super) struct ResponseHeaderMiddleware;

    impl ServerHook for ResponseHeaderMiddleware {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[response_header(SERVER => HYPERLANE)]
        #[response_header(CONNECTION => KEEP_ALIVE)]
        #[epilogue_macros(
            response_header(CONTENT_TYPE => content_type),
            response_header("SocketAddr" => socket_addr_string)
        )]
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            let socket_addr_string: String = stream
                .get_stream()
                .peer_addr()
                .map(|data: SocketAddr| data.to_string())
                .unwrap_or_default();
            let content_type: String =
                ContentType::format_content_type_with_charset(TEXT_HTML, UTF8);
            Status::Continue
        }
    }

    #[request_middleware(4)]
    pub(super) struct StatusCodeMiddleware;

    impl ServerHook for StatusCodeMiddleware {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[response_status_code(200)]
        async fn handle(self, _stream: &mut Stream, ctx: &mut Context) -> Status {
            Status::Continue
        }
    }

    #[request_middleware(5)]
    pub(super) struct OptionMethodMiddleware;

    impl ServerHook for OptionMethodMiddleware {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[prologue_macros(filter(ctx.get_request().get_method().is_options()), send)]
        async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
            Status::Reject
        }
    }

    #[request_middleware(6)]
    pub(super) struct UpgradeMiddleware;

    impl ServerHook for UpgradeMiddleware {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[prologue_macros(
            is_ws_upgrade_type,
            response_version(HttpVersion::Http1_1),
            response_status_code(101),
            response_body(&vec![]),
            response_header(UPGRADE => WEBSOCKET),
            response_header(CONNECTION => UPGRADE),
            response_header(SEC_WEBSOCKET_ACCEPT => WebSocketFrame::generate_accept_key(ctx.get_request().get_header_back(SEC_WEBSOCKET_KEY))),
            send
        )]
        async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
            Status::Continue
        }
    }

    #[response_middleware(1)]
    pub(super) struct SendMiddleware;

    impl ServerHook for SendMiddleware {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[prologue_macros(reject(ctx.get_request().is_ws_upgrade_type()), try_send)]
        async fn handle(self, _stream: &mut Stream, ctx: &mut Context) -> Status {
            Status::Continue
        }
    }

    #[response_middleware(2)]
    pub(super) struct LogMiddleware;

    impl ServerHook for LogMiddleware {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, _stream: &mut Stream, ctx: &mut Context) -> Status {
            let request_json: String = get_request_json(ctx).await;
            let response_json: String = get_response_json(ctx).await;
            LOG.lock().unwrap().push(request_json);
            LOG.lock().unwrap().push(response_json);
            Status::Continue
        }
    }

    // -------------------------------------------------------------------------------------------- controllers

    #[derive(Debug, Deserialize)]
    struct UpdateRequest {
        name: String,
    }

    #[route("/api/user/{id}")]
    pub(super) struct UserRoute;

    impl ServerHook for UserRoute {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[prologue_macros(
            is_post_method,
            try_get_route_param(ID_KEY => id_opt),
            request_body_json_result(request_opt: UpdateRequest),
            response_header(CONTENT_TYPE => APPLICATION_JSON)
        )]
        async fn handle(self, _stream: &mut Stream, ctx: &mut Context) -> Status {
            let id: String = match id_opt {
                Some(id) => id,
                None => return Status::Continue,
            };
            let request: UpdateRequest = match request_opt {
                Ok(data) => data,
                Err(error) => {
                    let response: ApiResponse<String> = ApiResponse::new(400, error.to_string());
                    ctx.get_mut_response().set_body(response.to_json_bytes());
                    return Status::Continue;
                }
            };
            match request.name.as_str() {
                "taken" => {
                    let response: ApiResponse<&str> = ApiResponse::new(409, "taken");
                    ctx.get_mut_response()
                        .set_status_code(i64::from(409) as usize)
                        .set_body(response.to_json_bytes())
                }
                name => {
                    let cookie: String = CookieBuilder::new("token", name).http_only().build();
                    let response: ApiResponse<String> =
                        ApiResponse::new(200, format!("{id}: {name}"));
                    ctx.get_mut_response()
                        .set_header(SET_COOKIE, &cookie)
                        .set_body(response.to_json_bytes())
                }
            };
            Status::Continue
        }
    }

    #[route("/api/search")]
    pub(super) struct SearchRoute;

    impl ServerHook for SearchRoute {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[prologue_macros(
            methods(get, post),
            try_get_request_query("limit" => limit_opt),
            response_header(CONTENT_TYPE => APPLICATION_JSON)
        )]
        async fn handle(self, _stream: &mut Stream, ctx: &mut Context) -> Status {
            let querys: &RequestQuerys = ctx.get_request().get_querys();
            let keyword: Option<String> = querys.get("keyword").cloned();
            let page: Option<i32> = querys.get("page").and_then(|s: &String| s.parse().ok());
            let parts: Vec<String> = querys
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            let path: String = ctx.get_request().get_path().clone();
            let limit: usize = limit_opt.and_then(|l| l.parse().ok()).unwrap_or(20);
            let found = format!("{path} {keyword:?} {page:?} {limit} {}", parts.join("&"));
            let response: ApiResponse<String> = ApiResponse::new(200, found);
            ctx.get_mut_response().set_body(response.to_json_bytes());
            Status::Continue
        }
    }

    #[route("/rss")]
    pub(super) struct RssRoute;

    impl ServerHook for RssRoute {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[prologue_macros(is_get_method, try_get_request_header(HOST => host_opt))]
        #[epilogue_macros(
            response_header(
                CONTENT_TYPE,
                ContentType::format_content_type_with_charset(APPLICATION_XML, UTF8)
            ),
            response_body(rss_xml)
        )]
        async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
            let host: String = host_opt.unwrap_or_default();
            let rss_xml: String = format!("<rss>{host}</rss>");
            Status::Continue
        }
    }

    #[route("/old")]
    pub(super) struct RedirectRoute;

    impl ServerHook for RedirectRoute {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[prologue_macros(
            methods(get, post),
            response_status_code(302),
            response_header(LOCATION => "/new")
        )]
        async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
            Status::Continue
        }
    }

    #[route("/fails")]
    pub(super) struct FailsRoute;

    impl ServerHook for FailsRoute {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
            panic!("on purpose")
        }
    }

    #[route("/sse")]
    pub(super) struct SseRoute;

    impl ServerHook for SseRoute {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[prologue_macros(
            methods(get, post),
            response_header(CONTENT_TYPE => TEXT_EVENT_STREAM),
            response_body(EMPTY_STR),
            try_send
        )]
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            for i in 0..3 {
                ctx.get_mut_response()
                    .set_body(format!("data:{i}{HTTP_DOUBLE_BR}"));
                let body: &ResponseBody = ctx.get_response().get_body();
                if stream.try_send(body).await.is_err() {
                    break;
                }
            }
            stream.set_closed(true);
            Status::Reject
        }
    }

    #[route("/status")]
    pub(super) struct ServerStatusRoute;

    impl ServerHook for ServerStatusRoute {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[prologue_macros(
            is_get_method,
            response_header(CONTENT_TYPE => TEXT_EVENT_STREAM),
            response_body(vec![]),
            try_send
        )]
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            let querys: &RequestQuerys = ctx.get_request().get_querys();
            let keeps: bool = querys.get("keeps").is_some();
            for load in 0..3 {
                let event: String = format!("data: {load}{BR}{BR}");
                ctx.get_mut_response().set_body(&event);
                if stream
                    .try_send(ctx.get_mut_response().build())
                    .await
                    .is_err()
                {
                    break;
                }
            }
            if keeps {
                return Status::Continue;
            }
            stream.set_closed(true);
            Status::Reject
        }
    }

    #[route("/log/{kind}")]
    pub(super) struct LogRoute;

    impl ServerHook for LogRoute {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[prologue_macros(
            is_get_method,
            response_header(CONTENT_TYPE => ContentType::format_content_type_with_charset(TEXT_PLAIN, UTF8)),
            response_header(CONTENT_ENCODING => GZIP),
            response_header(ACCEPT_RANGES => BYTES),
            try_get_route_param("kind" => kind_opt)
        )]
        async fn handle(self, _stream: &mut Stream, ctx: &mut Context) -> Status {
            let content: Vec<u8> = match kind_opt.as_deref() {
                Some("packed") => vec![0x1f, 0x8b, 8, 0],
                _ => b"a log".to_vec(),
            };
            ctx.get_mut_response()
                .set_body(&content)
                .set_header(CONTENT_LENGTH, content.len().to_string());
            Status::Continue
        }
    }

    #[route("/websocket")]
    pub(super) struct WebSocketRoute;

    impl ServerHook for WebSocketRoute {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[try_get_websocket_request(request)]
        #[allow(clippy::let_and_return, reason = "an attribute of another crate")]
        /// Answers each message of the socket.
        ///
        /// The documentation stands behind the attributes.
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            match serde_json::from_slice::<Vec<u32>>(&request) {
                Ok(request) => {
                    let sum: u32 = request.iter().sum();
                    ctx.get_mut_response().set_body(sum.to_string());
                }
                Err(error) => {
                    ctx.get_mut_response().set_body("no list");
                }
            };
            if try_send_body_hook(stream, ctx).await.is_err() {
                return Status::Reject;
            }
        }
    }

    struct UploadService;

    impl UploadService {
        #[try_get_request_header("x-file-id" => file_id_opt)]
        #[try_get_request_header("x-chunks" => chunks_opt)]
        async fn get_file<'a>(_stream: &mut Stream, ctx: &mut Context) -> Option<(String, usize)> {
            let file_id: String = Self::validate(file_id_opt, ctx).await.ok()?;
            let chunks: usize = chunks_opt?.parse().ok()?;
            Some((file_id, chunks))
        }

        async fn validate(file_id_opt: Option<String>, ctx: &mut Context) -> Result<String, ()> {
            match file_id_opt {
                Some(id) => Ok(id),
                None => {
                    ctx.get_mut_response().set_body("no file");
                    Err(())
                }
            }
        }

        #[response_header(CONTENT_TYPE => APPLICATION_JSON)]
        async fn get_panic(ctx: &mut Context) {
            let error: PanicData = ctx.try_get_task_panic_data().unwrap_or_default();
            let refused: RequestError = ctx.try_get_request_error_data().unwrap_or_default();
            let text: String = format!("{error}{}", refused.get_http_status_code());
            ctx.get_mut_response().set_header("x-errors", text);
        }
    }

    #[route("/upload")]
    pub(super) struct UploadRoute;

    impl ServerHook for UploadRoute {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[is_post_method]
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            UploadService::get_panic(ctx).await;
            let Some((id, chunks)) = UploadService::get_file(stream, ctx).await else {
                return Status::Continue;
            };
            let data: RequestBody = ctx.get_request().get_body().clone();
            let text: String = String::from_utf8_lossy(&data).to_string();
            ctx.get_mut_response()
                .set_header("save_upload_dir", &id)
                .set_body(format!("{id} {chunks} {text}"));
            Status::Continue
        }
    }

    #[route("/task")]
    pub(super) struct TaskRoute;

    impl ServerHook for TaskRoute {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[epilogue_macros(is_get_method, response_body(&text), try_send)]
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            let token: Option<String> = ctx.get_request().try_get_cookie("token");
            ctx.get_mut_route_params()
                .insert("name".to_string(), token.unwrap_or_default());
            let headers: RequestHeaders = ctx.get_request().get_headers().clone();
            let stored: String = serde_json::to_string(&headers).unwrap_or_default();
            let read: RequestHeaders = serde_json::from_str(&stored).unwrap_or_default();
            let ctx_clone: Context = ctx.clone();
            let task = tokio::spawn(async move {
                let name: String = ctx_clone.try_get_route_param("name").unwrap_or_default();
                format!("{name} {}", ctx_clone.get_request().get_path().clone())
            });
            let text: String = format!("{} {}", task.await.unwrap_or_default(), read == headers);
            Status::Continue
        }
    }

    // -------------------------------------------------------------------------------------------- chat

    pub(super) struct ChatConnectedHook;

    impl ServerHook for ChatConnectedHook {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[try_get_request_query("uuid" => uuid_opt)]
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            let websocket: &WebSocket = get_global_websocket();
            let path: String = ctx.get_request().get_path().clone();
            let key: BroadcastType<String> = BroadcastType::PointToGroup(path);
            let receiver_count: ReceiverCount = websocket.receiver_count(key.clone());
            let uuid: String = uuid_opt.unwrap_or_default();
            let message: ResponseBody = format!("{uuid} joins {receiver_count}").into_bytes();
            let _: Result<Option<ReceiverCount>, BroadcastSendError<Vec<u8>>> =
                websocket.try_send(key, message);
            Status::Continue
        }
    }

    pub(super) struct ChatRequestHook;

    impl ServerHook for ChatRequestHook {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
            let body: RequestBody = ctx.get_request().get_body().clone();
            ctx.get_mut_response().set_body(&body);
            Status::Continue
        }
    }

    pub(super) struct ChatSendedHook;

    impl ServerHook for ChatSendedHook {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            let response_body: ResponseBody = ctx.get_response().get_body().clone();
            if response_body == b"bye" {
                stream.set_closed(true);
                return Status::Reject;
            }
            Status::Continue
        }
    }

    pub(super) struct ChatClosedHook;

    impl ServerHook for ChatClosedHook {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
            let path: String = ctx.get_request().get_path().clone();
            let key: BroadcastType<String> = BroadcastType::PointToGroup(path.clone());
            let left: ReceiverCount = get_global_websocket().receiver_count_after_closed(key);
            ctx.get_mut_response().set_body(format!("left {left}"));
            Status::Continue
        }
    }

    #[route("/chat")]
    pub(super) struct ChatRoute;

    impl ServerHook for ChatRoute {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[prologue_macros(is_ws_upgrade_type, is_get_method)]
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            let websocket: &WebSocket = get_global_websocket();
            let path: String = ctx.get_request().get_path().clone();
            let key: BroadcastType<String> = BroadcastType::PointToGroup(path);
            let config: WebSocketConfig<String> = WebSocketConfig::new(stream, ctx)
                .set_capacity(1024)
                .set_broadcast_type(key)
                .set_connected_hook::<ChatConnectedHook>()
                .set_request_hook::<ChatRequestHook>()
                .set_sended_hook::<ChatSendedHook>()
                .set_closed_hook::<ChatClosedHook>();
            websocket.run(config).await;
            Status::Continue
        }
    }

    // -------------------------------------------------------------------------------------------- bootstrap

    pub(super) struct ConfigBootstrap {
        server_config: ServerConfig,
        request_config: RequestConfig,
    }

    impl ConfigBootstrap {
        #[hyperlane(server_config: ServerConfig)]
        async fn init() -> Self {
            let mut request_config: RequestConfig = RequestConfig::default();
            request_config
                .set_max_body_size(1000)
                .set_read_timeout_ms(60_000);
            server_config.set_address(Server::format_bind_address("127.0.0.1", 0));
            server_config.set_ttl(Some(64));
            server_config.set_nodelay(Some(true));
            Self {
                server_config,
                request_config,
            }
        }
    }

    fn print_route_matcher(server: &Server) {
        let route_matcher: &RouteMatcher = server.get_route_matcher();
        for key in route_matcher.get_static_route().keys() {
            println!("Static route {key}");
        }
        for value in route_matcher.get_dynamic_route().values() {
            for (route_pattern, _) in value {
                println!("Dynamic route {route_pattern}");
            }
        }
    }

    #[hyperlane(server: Server)]
    pub(super) async fn init() -> ServerControlHook {
        let config: ConfigBootstrap = ConfigBootstrap::init().await;
        server
            .request_config(config.request_config)
            .server_config(config.server_config.clone());
        match server.run().await {
            Ok(server_hook) => {
                print_route_matcher(&server);
                ShutdownPlugin::set(server_hook.get_shutdown_hook());
                server_hook
            }
            Err(server_error) => panic!("Server run error {server_error}"),
        }
    }
}

/// One test: the program's log, its rooms and its shutdown are one per process.
#[tokio::test]
async fn the_starter_answers() {
    let control = starter::init().await;
    let at = address(&control);
    let mut client = Client::connect(at).await;

    let reply = client.post("/api/user/7", r#"{"name":"ada"}"#).await;
    assert_eq!(
        (reply.status, reply.text()),
        (200, r#"{"code":200,"data":"7: ada"}"#)
    );
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("server"), Some("hyperlane"));
    assert!(
        reply
            .header("socketaddr")
            .is_some_and(|peer| peer.starts_with("127.0.0.1:"))
    );
    let reply = client.post("/api/user/7", r#"{"name":"taken"}"#).await;
    assert_eq!(
        (reply.status, reply.text()),
        (409, r#"{"code":409,"data":"taken"}"#)
    );
    let reply = client.post("/api/user/7", "{").await;
    assert!(
        reply.text().starts_with(r#"{"code":400"#),
        "{}",
        reply.text()
    );

    let reply = client.get("/api/search?keyword=a%20b&page=2&limit=5").await;
    assert_eq!(
        reply.text(),
        r#"{"code":200,"data":"/api/search Some(\"a b\") Some(2) 5 keyword=a b&page=2&limit=5"}"#
    );
    let reply = client.get("/rss").await;
    assert_eq!(
        reply.header("content-type"),
        Some("application/xml; charset=utf-8")
    );
    assert!(reply.text().starts_with("<rss>"), "{}", reply.text());
    let reply = client.get("/old").await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (302, Some("/new"))
    );
    client
        .request("GET", "/task", "cookie: token=ada\r\n")
        .await;
    assert_eq!(client.reply().await.text(), "ada /task true");
    let fields = "x-file-id: f\r\nx-chunks: 2\r\ncontent-length: 4\r\n";
    client.request("POST", "/upload", fields).await;
    client.send("data").await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.header("save_upload_dir"), reply.text()),
        (Some("f"), "f 2 data")
    );
    assert!(
        reply
            .header("x-errors")
            .is_some_and(|errors| errors.ends_with("500"))
    );
    assert_eq!(client.post("/upload", "").await.text(), "no file");
    client.request("OPTIONS", "/rss", "").await;
    let reply = client.reply().await;
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    // A middleware sets 200 for all requests. It answers OPTIONS itself, and other requests get their error.
    assert_eq!((reply.status, reply.text()), (200, ""));
    for (method, path, status, allow) in [
        ("GET", "/nothing", 404, None),
        ("DELETE", "/rss", 405, Some("GET, HEAD")),
    ] {
        client.request(method, path, "").await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.status, reply.header("allow")),
            (status, allow),
            "{path}"
        );
        assert!(reply.text().starts_with(&status.to_string()), "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    }
    // The server does not compress, so it omits a coding that the body does not have.
    for (path, coding, body) in [
        ("/log/info", None, &b"a log"[..]),
        ("/log/packed", Some("gzip"), &[0x1f, 0x8b, 8, 0]),
    ] {
        let reply = client.get(path).await;
        assert_eq!(
            (reply.header("content-encoding"), &reply.body[..]),
            (coding, body),
            "{path}"
        );
        assert_eq!(reply.header("accept-ranges"), Some("bytes"));
    }

    let reply = Client::connect(at).await.get("/fails").await;
    assert_eq!(reply.status, 500);
    assert!(reply.text().contains("on purpose"), "{}", reply.text());
    let reply = Client::connect(at)
        .await
        .post("/rss", &"x".repeat(1001))
        .await;
    assert_eq!((reply.status, reply.header("trace")), (413, Some("1")));
    assert!(
        reply.text().starts_with(r#"{"code":413"#),
        "{}",
        reply.text()
    );

    let mut events = Client::connect(at).await;
    events.request("GET", "/sse", "").await;
    let all = String::from_utf8(events.rest().await).unwrap();
    assert!(all.contains("text/event-stream"), "{all}");
    assert!(
        all.ends_with("data:0\r\n\r\ndata:1\r\n\r\ndata:2\r\n\r\n"),
        "{all}"
    );

    // Each event is a whole response, of which only the body is sent. The response middleware, which sends as well, does
    // not repeat the last one.
    for path in ["/status", "/status?keeps=1"] {
        let mut events = Client::connect(at).await;
        events.request("GET", path, "").await;
        let all = String::from_utf8(events.rest().await).unwrap();
        assert!(
            all.ends_with("\r\n\r\ndata: 0\n\ndata: 1\n\ndata: 2\n\n"),
            "{all}"
        );
        assert_eq!(all.matches("HTTP/1.1").count(), 1, "{all}");
    }

    let mut socket = Client::websocket(at, "/websocket").await;
    for (message, answer) in [("[1,2,3]", "6"), ("x", "no list")] {
        socket.say(message).await;
        assert_eq!(socket.next_frame().await.text(), answer);
    }
    socket.close().await;

    the_chat_reaches_all_clients(at).await;
    logs_have_no_secrets(at).await;
    starter::ShutdownPlugin::get_or_init()().await;
    assert!(!control.is_ready());
}

async fn logs_have_no_secrets(at: std::net::SocketAddr) {
    let mut client = Client::connect(at).await;
    client
        .request(
            "GET",
            "/rss?token=secret",
            "cookie: a=secret\r\nauthorization: Bearer secret\r\n",
        )
        .await;
    assert_eq!(client.reply().await.status, 200);
    let logged = || starter::LOG.lock().unwrap().join("\n");
    eventually("the request is logged", || {
        logged().contains(r#""token":["***"]"#)
    })
    .await;
    let log = logged();
    assert!(
        !log.contains("secret") && !log.contains("token=ada"),
        "{log}"
    );
    assert!(
        log.contains(r#""cookie":["***"]"#) && log.contains(r#""set-cookie":["***"]"#),
        "{log}"
    );
    assert!(log.contains("panic => GET /fails HTTP/1.1"), "{log}");
}

async fn the_chat_reaches_all_clients(at: std::net::SocketAddr) {
    let mut ada = Client::websocket(at, "/chat?uuid=ada").await;
    assert_eq!(ada.next_message().await.text(), "ada joins 1");
    let mut bob = Client::websocket(at, "/chat?uuid=bob").await;
    for socket in [&mut ada, &mut bob] {
        assert_eq!(socket.next_message().await.text(), "bob joins 2");
    }
    ada.say("hello").await;
    for socket in [&mut ada, &mut bob] {
        assert_eq!(socket.next_message().await.text(), "hello");
    }
    bob.frame(test_support::BINARY, [0xff, 0]).await;
    for socket in [&mut ada, &mut bob] {
        let message = socket.next_message().await;
        assert_eq!(
            (message.opcode, &message.payload[..]),
            (test_support::BINARY, &[0xff, 0][..])
        );
    }
    bob.close().await;
    assert_eq!(ada.next_message().await.text(), "left 1");
    ada.say("bye").await;
    // The hook closes the connection, perhaps before the room has delivered the message.
    let mut last = ada.next_message().await;
    if last.opcode == test_support::TEXT {
        last = ada.next_message().await;
    }
    assert_eq!(last.code(), 1000);
    eventually("all have left", || {
        let key = hyperlane::broadcast::BroadcastType::PointToGroup("/chat");
        starter::get_global_websocket().receiver_count(key) == 0
    })
    .await;
}

/// Streams without a server.
mod transports {
    use std::{
        io,
        net::SocketAddr,
        pin::Pin,
        task::{Context, Poll},
    };

    use hyperlane::{HttpStatus, Request, RequestConfig, RequestError, Stream, Transport};
    use test_support::{Client, PATIENCE};
    use tokio::{
        io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf},
        net::{TcpListener, TcpStream},
    };

    /// A transport of the program, with addresses of its own.
    struct Tunnel(DuplexStream);

    impl Transport for Tunnel {
        fn peer_addr(&self) -> io::Result<SocketAddr> {
            Ok(([192, 0, 2, 1], 1).into())
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(([192, 0, 2, 2], 2).into())
        }
    }

    impl AsyncRead for Tunnel {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Tunnel {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    fn answer(body: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn addresses(transport: &dyn Transport) -> [Option<String>; 2] {
        [transport.peer_addr(), transport.local_addr()]
            .map(|address| address.ok().map(|address| address.to_string()))
    }

    #[tokio::test]
    async fn a_program_reads_and_answers_by_itself() {
        let (client, pipe) = tokio::io::duplex(64);
        let mut stream = Stream::from_transport(Tunnel(pipe), RequestConfig::default(), false);
        assert_eq!(
            addresses(stream.get_stream()),
            [Some("192.0.2.1:1".into()), Some("192.0.2.2:2".into())]
        );
        let served = tokio::spawn(async move {
            let mut paths = Vec::new();
            let mut request = Request::default();
            while stream.try_fill_http_request(&mut request).await.is_ok() {
                let text = format!("{} {}", request.get_path(), request.get_body_string());
                stream.try_send(answer(&text)).await.unwrap();
                paths.push(text);
            }
            paths
        });
        let long = "b".repeat(10_000);
        let requests = format!(
            "GET /a HTTP/1.1\r\nhost: h\r\n\r\nPOST /b HTTP/1.1\r\nhost: h\r\ncontent-length: 10000\r\n\r\n{long}"
        );
        let (mut reader, mut writer) = tokio::io::split(client);
        let writes = tokio::spawn(async move {
            writer.write_all(requests.as_bytes()).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let mut answers = String::new();
        tokio::time::timeout(PATIENCE, reader.read_to_string(&mut answers))
            .await
            .unwrap()
            .unwrap();
        writes.await.unwrap();
        assert_eq!(
            served.await.unwrap(),
            ["/a ".to_owned(), format!("/b {long}")]
        );
        assert!(
            answers.contains("\r\n\r\n/a HTTP/1.1 200 OK") && answers.ends_with("bbb"),
            "{answers}"
        );
    }

    #[tokio::test]
    async fn the_limits_hold_and_a_refused_request_ends_the_stream() {
        let (mut client, pipe) = tokio::io::duplex(1024);
        let mut limits = RequestConfig::default();
        limits.set_max_body_size(3).set_read_timeout_ms(100);
        let mut stream = Stream::from_transport(pipe, limits, false);
        assert_eq!(addresses(stream.get_stream()), [None, None]);
        client
            .write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\nbody")
            .await
            .unwrap();
        let error = stream.try_get_http_request().await.unwrap_err();
        assert_eq!(error.get_http_status(), HttpStatus::PayloadTooLarge);

        // A client that never completes its head is given up after the time limit.
        let (mut client, pipe) = tokio::io::duplex(1024);
        let mut stream = Stream::from_transport(pipe, limits, false);
        client.write_all(b"GET / HT").await.unwrap();
        let error = tokio::time::timeout(PATIENCE, stream.try_get_http_request())
            .await
            .unwrap();
        assert_eq!(
            error.unwrap_err().get_http_status(),
            HttpStatus::RequestTimeout
        );

        let (_client, pipe) = tokio::io::duplex(1024);
        let mut stream = Stream::from_transport(pipe, limits, true);
        assert!(stream.get_closed());
        let error = stream.try_get_http_request().await.unwrap_err();
        assert_eq!(error, RequestError::ConnectionClosed);
    }

    #[tokio::test]
    async fn a_websocket_over_tcp_ends_with_its_stream() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let (socket, peer) = listener.accept().await.unwrap();
            let mut stream = Stream::from_transport(socket, RequestConfig::default(), false);
            assert_eq!(stream.get_peer_addr().unwrap(), peer);
            assert_eq!(stream.get_local_addr().unwrap(), at);
            let mut ctx = hyperlane::Context::default();
            let request = stream.try_get_http_request().await.unwrap();
            ctx.set_request(request);
            let socket = ctx.upgrade(&mut stream).await.unwrap();
            let message = stream.try_get_websocket_request().await.unwrap();
            socket.send(&message[..]).await.unwrap();
        });
        let mut client = Client::websocket(at, "/").await;
        client.say("over TCP").await;
        assert_eq!(client.next_message().await.payload, b"over TCP");
        assert_eq!(client.next_message().await.code(), 1000);
        served.await.unwrap();
    }

    #[tokio::test]
    async fn a_stream_that_is_dropped_sends_what_it_has_queued() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = Stream::from_transport(socket, RequestConfig::default(), false);
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
            .await
            .unwrap();
        stream.try_get_http_request().await.unwrap();
        stream.try_send(answer(&"x".repeat(100_000))).await.unwrap();
        drop(stream);
        let mut all = Vec::new();
        tokio::time::timeout(PATIENCE, client.read_to_end(&mut all))
            .await
            .unwrap()
            .unwrap();
        assert!(all.len() > 100_000 && all.ends_with(b"xxx"));
    }

    #[test]
    fn a_stream_outside_of_a_runtime_is_closed() {
        let (_client, pipe) = tokio::io::duplex(64);
        let mut stream = Stream::from_transport(pipe, RequestConfig::default(), false);
        let sent = std::pin::pin!(stream.try_send("x"));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(matches!(sent.poll(&mut cx), Poll::Ready(Err(_))));
    }
}

#[tokio::test]
async fn a_configuration_in_json_starts_a_server_or_says_why_not() {
    use hyperlane::{Server, ServerError};
    let mut server = Server::default();
    server.config_from_json(
        r#"{"address": "127.0.0.1:0", "nodelay": true, "ttl": 64, "max_body": 10}"#,
    );
    assert_eq!(server.get_server_config().max_body, 10);
    server.config_from_json(r#"{"adress": "127.0.0.1:0"}"#);
    match server.run().await.map(|_| ()) {
        Err(ServerError::Config(error)) => {
            assert_eq!(error.to_string(), "unknown setting `adress`")
        }
        other => panic!("{other:?}"),
    }
}
