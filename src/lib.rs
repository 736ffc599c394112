#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

// The macros' paths begin here, also inside this package's own examples and tests.
extern crate self as hyperlane;

#[doc(hidden)]
pub use hyperlane_core::__private;
pub use hyperlane_core::*;
pub use hyperlane_macros::*;

/// Rooms over connected streams, and channels between tasks.
pub mod broadcast {
    pub use hyperlane_broadcast::{
        Broadcast, BroadcastMap, BroadcastMapReceiver, BroadcastMapSendError, BroadcastMapSender,
        BroadcastReceiver, BroadcastSendError, BroadcastSendResult, BroadcastSender, BroadcastType,
        Capacity, Connected, DEFAULT_BROADCAST_SENDER_CAPACITY, Join, Member, MemberId, Offset,
        ReceiverCount, Room, RoomError, RoomExt, Rooms, RoomsConfig,
    };
}

/// Longer texts, beside the documentation of items.
pub mod docs {
    #[doc = include_str!("../docs/errors.md")]
    pub mod errors {}
    #[doc = include_str!("../docs/observability.md")]
    pub mod observability {}
    #[cfg(feature = "sessions")]
    #[doc = include_str!("../docs/channels.md")]
    pub mod channels {}
    #[cfg(feature = "sessions")]
    #[doc = include_str!("../docs/sessions.md")]
    pub mod sessions {}
}

/// What most programs need, in one import.
///
/// ```
/// use hyperlane::prelude::*;
///
/// #[get("/hello/{name}")]
/// #[route_param("name" => name)]
/// async fn hello(ctx: &mut Context) -> impl IntoResponse {
///     format!("hello {name}")
/// }
/// ```
pub mod prelude {
    #[cfg(feature = "multipart")]
    pub use crate::Multipart;
    pub use crate::{
        Body,
        BodyMode,
        BodyStream,
        BoundAddress,
        CloseCode,
        Context,
        Error,
        Event,
        FileBody,
        FromContext,
        Headers,
        Html,
        HttpStatus,
        HttpVersion,
        IntoResponse,
        Json,
        Message,
        Method,
        Path,
        Redirect,
        Request,
        RequestBody,
        RequestConfig,
        RequestError,
        Response,
        ResponseBody,
        ResponseError,
        Server,
        ServerConfig,
        ServerControlHook,
        ServerError,
        ServerHook,
        ServerSentEvents,
        State,
        Status,
        Stream,
        Upgrade,
        WebSocket,
        WebSocketFrame,
        broadcast::{
            Connected, Join, Member, MemberId, Room, RoomError, RoomExt, Rooms, RoomsConfig,
        },
        // Names of header fields and media types.
        constants::*,
    };
    #[cfg(feature = "forms")]
    pub use crate::{Form, Query};
    #[cfg(feature = "sessions")]
    pub use crate::{Session, SessionKey};
    pub use hyperlane_macros::*;
}

/// Lends a context again: `context!(ctx)` to read, `context!(ctx: &mut Context)` to change, for as long as the loan is
/// in use.
///
/// ```
/// use hyperlane::*;
///
/// fn path(ctx: &Context) -> usize {
///     ctx.get_request().get_path().len()
/// }
///
/// async fn handle(ctx: &mut Context) {
///     let length = path(context!(ctx));
///     let changed: &mut Context = context!(ctx: &mut Context);
///     changed.get_mut_response().set_body(length.to_string());
/// }
/// ```
#[macro_export]
macro_rules! context {
    ($ctx:ident $(,)?) => {
        &*$ctx
    };
    ($ctx:ident: &mut $type:ty $(,)?) => {{
        let lent: &mut $type = &mut *$ctx;
        lent
    }};
    ($ctx:ident: & $type:ty $(,)?) => {{
        let lent: &$type = &*$ctx;
        lent
    }};
}
