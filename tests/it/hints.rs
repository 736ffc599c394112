//! Early hints (103) and pushed responses, over both versions of HTTP.

use bytes::Bytes;
use hyperlane::prelude::*;
use test_support::{Client, address, handler, start};
use tokio::net::TcpStream;

handler!(Slow, |stream, ctx| {
    stream
        .early_hints(["</own.css>; rel=preload; as=style", "bad\r\nlink"])
        .await
        .unwrap();
    ctx.get_mut_response().set_body("page");
});

handler!(Page, |_stream, ctx| {
    let css = Response::new()
        .with_header("content-type", "text/css")
        .with_body("body {}");
    let response = ctx.get_mut_response();
    response.set_body("page");
    response.push("/bundle.css", css);
});

handler!(TooLate, |stream, ctx| {
    ctx.get_mut_response().set_body("page");
    stream
        .try_send(ctx.get_mut_response().build())
        .await
        .unwrap();
    let late = stream.early_hints(["</a.css>; rel=preload"]).await;
    assert!(late.is_err(), "{late:?}");
});

handler!(Preloads, |_stream, ctx| {
    ctx.get_mut_response().preload("/all.js", "script");
});

async fn served() -> hyperlane::ServerControlHook {
    start(|server| {
        server
            .request_middleware::<Preloads>()
            .route::<Slow>("/slow")
            .route::<Page>("/page")
            .route::<TooLate>("/late");
    })
    .await
}

#[tokio::test]
async fn a_103_comes_before_the_answer_over_http_1_1() {
    let control = served().await;
    let mut client = Client::connect(address(&control)).await;
    client.request("GET", "/slow", "").await;
    let hint = client.reply().await;
    assert_eq!(hint.status, 103, "{}", hint.head);
    assert_eq!(hint.all("link"), ["</all.js>; rel=preload; as=script"]);
    let hint = client.reply().await;
    assert_eq!(hint.status, 103);
    assert_eq!(hint.all("link"), ["</own.css>; rel=preload; as=style"]);
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.text()), (200, "page"));
    // A client that cannot get a pushed response gets its name. The connection stays in use.
    client.request("GET", "/page", "").await;
    assert_eq!(client.reply().await.status, 103);
    let hint = client.reply().await;
    assert_eq!(hint.all("link"), ["</bundle.css>; rel=preload; as=style"]);
    let reply = client.reply().await;
    let links = [
        "</all.js>; rel=preload; as=script",
        "</bundle.css>; rel=preload; as=style",
    ];
    assert_eq!((reply.text(), reply.all("link")), ("page", links.to_vec()));
    client.request("GET", "/late", "").await;
    assert_eq!(client.reply().await.status, 103);
    assert_eq!(client.reply().await.text(), "page");
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_the_answer_alone() {
    let control = served().await;
    let mut client = Client::connect(address(&control)).await;
    client.send("GET /slow HTTP/1.0\r\nhost: a\r\n\r\n").await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.text()), (200, "page"));
}

#[tokio::test]
async fn a_client_of_http_2_that_allows_it_gets_the_pushed_response() {
    let control = served().await;
    for allows in [true, false] {
        let socket = TcpStream::connect(address(&control)).await.unwrap();
        let (client, connection) = h2::client::Builder::new()
            .enable_push(allows)
            .handshake::<_, Bytes>(socket)
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let uri = format!("http://{}/page", address(&control));
        let request = http::Request::get(uri).body(()).unwrap();
        let (mut answer, _) = client.send_request(request, true).unwrap();
        if allows {
            let pushed = answer
                .push_promises()
                .push_promise()
                .await
                .unwrap()
                .unwrap();
            let (request, pushed) = pushed.into_parts();
            assert_eq!(
                request.uri().scheme_str(),
                Some("http"),
                "as the connection"
            );
            assert_eq!(
                (request.method(), request.uri().path()),
                (&http::Method::GET, "/bundle.css")
            );
            let mut pushed = pushed.await.unwrap();
            assert_eq!(pushed.headers()["content-type"], "text/css");
            assert_eq!(pushed.body_mut().data().await.unwrap().unwrap(), "body {}");
        }
        let mut answer = answer.await.unwrap();
        let links = answer.headers().get_all("link").iter().count();
        assert_eq!(links, if allows { 1 } else { 2 });
        assert_eq!(answer.body_mut().data().await.unwrap().unwrap(), "page");
    }
}
