//! The example `files`: no uploaded file is lost silently, whatever its name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

#[path = "../examples/files/main.rs"]
#[allow(dead_code, reason = "its `main` is not ours")]
mod files;

use std::{collections::BTreeMap, path::PathBuf};

use test_support::{Client, Reply, address, start};

/// A folder for one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("upload-{name}-{}", std::process::id());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// Returns the stored files, by name.
    fn stored(&self) -> BTreeMap<String, String> {
        std::fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, std::fs::read_to_string(path).unwrap())
            })
            .collect()
    }

    fn clear(&self) {
        for name in self.stored().into_keys() {
            std::fs::remove_file(self.0.join(name)).unwrap();
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn client(folder: &Folder) -> Client {
    let control = start(|server| {
        server.__register_all();
        files::serve_files(server, folder.0.clone());
    })
    .await;
    Client::connect(address(&control)).await
}

/// Sends parts, each of a disposition and a content.
async fn upload(client: &mut Client, parts: &[(&[u8], &str)]) -> Reply {
    let mut body = Vec::new();
    for (disposition, content) in parts {
        body.extend_from_slice(b"--XX\r\n");
        if !disposition.is_empty() {
            body.extend_from_slice(b"Content-Disposition: form-data");
            body.extend_from_slice(disposition);
            body.extend_from_slice(b"\r\n");
        } else {
            body.extend_from_slice(b"Content-Type: text/plain\r\n");
        }
        body.extend_from_slice(format!("\r\n{content}\r\n").as_bytes());
    }
    body.extend_from_slice(b"--XX--\r\n");
    let fields = format!(
        "content-type: multipart/form-data; boundary=XX\r\ncontent-length: {}\r\n",
        body.len()
    );
    client.request("POST", "/upload", &fields).await;
    client.send(body).await;
    client.reply().await
}

#[tokio::test]
async fn a_file_is_stored_whatever_its_name_is_written_like() {
    let folder = Folder::new("names");
    let mut client = client(&folder).await;
    for (disposition, name) in [
        (&b"; name=\"file\"; filename=\"plain.txt\""[..], "plain.txt"),
        (b"; name=\"file\"; filename=plain.txt", "plain.txt"),
        (b"; name=\"file\"; filename=two words.txt", "two words.txt"),
        (
            b"; name=\"file\"; filename=\"caf\xe9.txt\"",
            "caf\u{fffd}.txt",
        ),
        (b"; name=\"file\"; filename=\"\xff\"", "\u{fffd}"),
        (
            b"; name=\"file\"; filename*=UTF-8''caf%C3%A9.txt",
            "caf\u{e9}.txt",
        ),
        (
            b"; name=\"file\"; filename*=iso-8859-1''caf%e9.txt",
            "caf\u{e9}.txt",
        ),
        (
            b"; name=\"file\"; FileName=\"a.txt\"; filename*=utf-8''b.txt",
            "a.txt",
        ),
        (
            b"; name=\"file\"; filename=\"\"; filename*=utf-8''b.txt",
            "b.txt",
        ),
        (b"; filename=\"nameless.txt\"", "nameless.txt"),
        (b"; name=\"file\"; filename=\"C:\\dir\\up.txt\"", "up.txt"),
        (b"; name=\"file\"; filename=\"../../etc/up.txt\"", "up.txt"),
        (
            b"; name=\"file\"; filename=\"at 10:30.txt\"",
            "at 10_30.txt",
        ),
        (b"; name=\"file\"; filename=\"a\tb.txt\"", "a_b.txt"),
        (b"; name=\"file\"; filename*=utf-8''a%00b", "a_b"),
    ] {
        let shown = String::from_utf8_lossy(disposition);
        let reply = upload(&mut client, &[(disposition, "content")]).await;
        assert_eq!(reply.status, 303, "{shown}: {}", reply.text());
        let stored = BTreeMap::from([(name.to_owned(), "content".to_owned())]);
        assert_eq!(folder.stored(), stored, "{shown}");
        folder.clear();
    }
    let parts = [
        (&b"; name=\"file\"; filename=\"a\""[..], "1"),
        (b"; name=\"file\"; filename=\"empty\"", ""),
        // The form has neither a chosen file nor typed text here.
        (b"; name=\"more\"; filename=\"\"", ""),
        (b"; name=\"note\"", ""),
    ];
    assert_eq!(upload(&mut client, &parts).await.status, 303);
    let names: Vec<String> = folder.stored().into_keys().collect();
    assert_eq!(names, ["a", "empty"]);
}

#[tokio::test]
async fn a_file_that_cannot_be_stored_is_refused_with_its_name() {
    let folder = Folder::new("refused");
    let mut client = client(&folder).await;
    for (disposition, word) in [
        (&b"; name=\"file\"; filename=\"..\""[..], "\"..\""),
        (b"; name=\"file\"; filename=\".\"", "\".\""),
        (b"; name=\"file\"; filename=\"dir/\"", "\"dir/\""),
        (b"; name=\"file\"; filename=\"\"", "\"\""),
        (b"; name=\"file\"; filename=\"  \"", "\"  \""),
        (b"; name=\"file\"; filename*=utf-8''%2e%2e", "\"..\""),
        (b"; name=\"note\"", "\"note\" is no file"),
        (b"", "is no file"),
        (b"; name=\"file\"; filename=\"first\"", "\"first\""),
    ] {
        let shown = String::from_utf8_lossy(disposition);
        let first = (&b"; name=\"file\"; filename=\"first\""[..], "1");
        let reply = upload(&mut client, &[first, (disposition, "2")]).await;
        assert_eq!(reply.status, 400, "{shown}");
        let text = reply.text();
        assert!(text.contains(word), "{shown}: {text}");
        assert!(text.contains("1 files before it are stored"), "{text}");
        let stored = BTreeMap::from([("first".to_owned(), "1".to_owned())]);
        assert_eq!(folder.stored(), stored, "{shown}");
    }
    // These names cannot be written as they were said: another file may have become the same.
    folder.clear();
    for (first, second, name) in [
        (
            &b"; filename=\"caf\xe9\""[..],
            &b"; filename=\"caf\xe8\""[..],
            "caf\u{fffd}",
        ),
        (b"; filename=\"a:b\"", b"; filename=\"a\tb\"", "a_b"),
    ] {
        assert_eq!(upload(&mut client, &[(first, "1")]).await.status, 303);
        let reply = upload(&mut client, &[(second, "2")]).await;
        assert_eq!(
            (reply.status, reply.text().contains(name)),
            (400, true),
            "{}",
            reply.text()
        );
        assert_eq!(
            folder.stored(),
            BTreeMap::from([(name.to_owned(), "1".to_owned())])
        );
        folder.clear();
    }
    // The same name again is the same file.
    for content in ["1", "2"] {
        let again = (&b"; filename=\"C:\\again \""[..], content);
        assert_eq!(upload(&mut client, &[again]).await.status, 303);
        assert_eq!(folder.stored()["again"], content);
    }
    folder.clear();
    for parts in [&[][..], &[(&b"; name=\"file\"; filename=\"\""[..], "")]] {
        let reply = upload(&mut client, parts).await;
        assert_eq!(
            (reply.status, reply.text()),
            (400, "the form has no file\n")
        );
    }
    assert!(folder.stored().is_empty());
}
