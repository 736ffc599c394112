//! Files in and out, of any size, in little memory.
//!
//! ```text
//! cargo run --release --example files [-- 127.0.0.1:8080 [folder]]
//! curl -T large.bin http://127.0.0.1:8080/files/large.bin
//! curl -F file=@large.bin http://127.0.0.1:8080/upload
//! curl -o copy.bin http://127.0.0.1:8080/files/large.bin
//! curl -I http://127.0.0.1:8080/files/large.bin
//! curl -r 0-99 http://127.0.0.1:8080/files/large.bin
//! ```

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use hyperlane::{BodyStream, FileBody, Multipart, Redirect, prelude::*};
use tokio::{
    fs::{self, File},
    io::AsyncWriteExt,
};

/// Where the files are.
struct Folder(PathBuf);

/// What one upload may have.
const MAX_UPLOAD: usize = 16 << 30;

/// A file under another name until it is whole, so that nobody reads half of one.
struct Upload {
    file: File,
    partial: PathBuf,
    path: PathBuf,
    size: u64,
}

impl Upload {
    async fn begin(path: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let partial = path.with_extension(format!("{number}.partial"));
        Ok(Self {
            file: File::create(&partial).await?,
            partial,
            path: path.to_owned(),
            size: 0,
        })
    }

    async fn write(&mut self, piece: &Bytes) -> io::Result<()> {
        self.size += piece.len() as u64;
        self.file.write_all(piece).await
    }

    async fn finish(mut self) -> io::Result<u64> {
        self.file.flush().await?;
        fs::rename(&self.partial, &self.path).await?;
        Ok(self.size)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Gone already if the upload came to its end.
        let _ = std::fs::remove_file(&self.partial);
    }
}

/// Why an upload did not end well.
enum Failure {
    Request(RequestError),
    Disk(io::Error),
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self, response: &mut Response) {
        match self {
            Self::Request(error) => error.into_response(response),
            // The client's name for it is at fault.
            Self::Disk(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::IsADirectory
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::InvalidFilename
                ) =>
            {
                (HttpStatus::Conflict, "no file can be there\n").into_response(response);
            }
            Self::Disk(error) => {
                // What went wrong here is for the log.
                eprintln!("cannot store: {error}");
                HttpStatus::InternalServerError.into_response(response);
            }
        }
    }
}

#[get("/")]
async fn index() -> Html<&'static str> {
    Html(include_str!("page.html"))
}

/// Sends a file, or the part that was asked for, or 304.
#[get("/files/{*path}")]
#[route_param("path" => path)]
async fn download(ctx: &mut Context) -> Option<FileBody> {
    FileBody::within(&ctx.state::<Folder>().0, path)
}

/// Stores the body of the request as it comes.
#[put("/files/{*path}")]
#[route_param("path" => path)]
#[max_body(MAX_UPLOAD)]
#[body_stream(body)]
async fn put(ctx: &mut Context) -> Result<(HttpStatus, String), Failure> {
    let folder = ctx.state::<Folder>();
    let Some(file) = FileBody::within(&folder.0, path) else {
        return Ok((HttpStatus::BadRequest, "not a path\n".to_owned()));
    };
    let size = store(body, file.path()).await?;
    Ok((HttpStatus::Created, format!("{size} bytes\n")))
}

async fn store(mut body: BodyStream, path: &Path) -> Result<u64, Failure> {
    let mut upload = Upload::begin(path).await?;
    while let Some(piece) = body.next_chunk().await? {
        upload.write(&piece).await?;
    }
    Ok(upload.finish().await?)
}

/// Stores every file of a form.
#[post("/upload")]
#[max_body(MAX_UPLOAD)]
#[body_stream(_body)]
async fn upload(ctx: &mut Context) -> Result<Redirect, Failure> {
    let folder = ctx.state::<Folder>();
    store_form(ctx.multipart()?, &folder.0).await?;
    Ok(Redirect::see_other("/"))
}

async fn store_form(mut form: Multipart, folder: &Path) -> Result<(), Failure> {
    while let Some(mut field) = form.next_field().await? {
        // The client's word: only its last part, and only within the folder.
        let name = field
            .file_name()
            .and_then(|name| name.rsplit(['/', '\\']).next());
        let Some(file) = name.and_then(|name| FileBody::within(folder, name)) else {
            continue;
        };
        let mut upload = Upload::begin(file.path()).await?;
        while let Some(piece) = field.next_chunk().await? {
            upload.write(&piece).await?;
        }
        upload.finish().await?;
    }
    Ok(())
}

#[hyperlane(server: Server)]
#[tokio::main]
async fn main() -> Result<(), ServerError> {
    let mut args = std::env::args().skip(1);
    let address = args.next();
    let folder = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    println!("files of {}", folder.display());
    server
        .state(Folder(folder))
        .bind(address.as_deref().unwrap_or("127.0.0.1:8080"));
    let control = server.run().await?;
    for address in control.addresses() {
        println!("http://{address}");
    }
    control.wait().await;
    Ok(())
}
