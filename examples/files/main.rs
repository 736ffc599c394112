//! Uploads and downloads of files of any size with little memory.
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
    collections::HashSet,
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

/// The folder that contains the files.
struct Folder(PathBuf);

/// Maximum size of an upload, in bytes.
const MAX_UPLOAD: usize = 16 << 30;

/// An upload in progress. The file has a temporary name until the upload is complete. A download never reads an
/// incomplete file.
struct Upload {
    file: File,
    partial: PathBuf,
    path: PathBuf,
    size: u64,
}

impl Upload {
    async fn begin(path: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let partial = path.with_extension(format!("{number}.partial"));
            match File::create_new(&partial).await {
                Ok(file) => {
                    return Ok(Self {
                        file,
                        partial,
                        path: path.to_owned(),
                        size: 0,
                    });
                }
                // The temporary file exists already: an earlier run has left it, or another file has the same name. The
                // loop tries the next number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
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
        // After a complete upload, the file has been renamed. The removal of the temporary name then fails, and the
        // code ignores the error.
        let _ = std::fs::remove_file(&self.partial);
    }
}

/// The reason why an upload failed.
enum Failure {
    Request(RequestError),
    Disk(io::Error),
    /// A fault in the form. The client receives the text.
    Form(String),
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
            Self::Form(text) => (HttpStatus::BadRequest, text).into_response(response),
            // The client has chosen a name that the file system cannot use.
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
                // The cause is logged, and the client does not receive it.
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

/// Answers with a file, a range of the file (206), or 304.
#[get("/files/{*path}")]
#[route_param("path" => path)]
async fn download(ctx: &mut Context) -> Option<FileBody> {
    FileBody::within(&ctx.state::<Folder>().0, path)
}

/// Stores the body of a request in a file, piece by piece.
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

/// Stores every file of a form. If a file cannot be stored, the answer names the file.
#[post("/upload")]
#[max_body(MAX_UPLOAD)]
#[body_stream(_body)]
async fn upload(ctx: &mut Context) -> Result<Redirect, Failure> {
    let folder = ctx.state::<Folder>();
    store_form(ctx.multipart()?, &folder.0).await?;
    Ok(Redirect::see_other("/"))
}

async fn store_form(mut form: Multipart, folder: &Path) -> Result<(), Failure> {
    let mut stored = HashSet::new();
    while let Some(mut field) = form.next_field().await? {
        let input = field.name().unwrap_or_default().to_owned();
        let said = field.file_name().map(str::to_owned);
        let first = field.next_chunk().await?.filter(|piece| !piece.is_empty());
        let is_nothing = first.is_none() && said.as_deref().is_none_or(str::is_empty);
        if is_nothing {
            // The user has selected no file in a file input, or a field has no value.
            continue;
        }
        let Some(said) = said else {
            return Err(refuse(
                &input,
                "is no file: a part needs a `filename`",
                &stored,
            ));
        };
        let Some((name, file)) = place(folder, &said) else {
            let problem = format!("has the name {said:?}, which no file can have here");
            return Err(refuse(&input, &problem, &stored));
        };
        if stored.contains(&name) {
            let problem = format!("would take the place of another file {name:?} of this form");
            return Err(refuse(&input, &problem, &stored));
        }
        // `place` may have changed the name. Two different names may then be the same, and the second file would
        // overwrite the first.
        let is_changed = name.contains('\u{fffd}') || !said.trim_end().ends_with(&name);
        if is_changed && fs::try_exists(file.path()).await? {
            let problem = format!("would take the place of {name:?}, which may be another file");
            return Err(refuse(&input, &problem, &stored));
        }
        let mut upload = Upload::begin(file.path()).await?;
        let mut next = first;
        while let Some(piece) = next {
            upload.write(&piece).await?;
            next = field.next_chunk().await?;
        }
        upload.finish().await?;
        stored.insert(name);
    }
    match stored.is_empty() {
        true => Err(Failure::Form("the form has no file\n".to_owned())),
        false => Ok(()),
    }
}

fn refuse(input: &str, problem: &str, stored: &HashSet<String>) -> Failure {
    let count = stored.len();
    Failure::Form(format!(
        "the part {input:?} {problem}; of the form, {count} files before it are stored\n"
    ))
}

/// Returns the name and path under which a file is stored. `said` is the name that the client has sent. The function
/// uses only the last part of a path. It replaces control characters and `:` by `_`, because some systems forbid them.
/// Returns `None` for an invalid name.
fn place(folder: &Path, said: &str) -> Option<(String, FileBody)> {
    let name = said.rsplit(['/', '\\']).next()?.trim();
    let is_odd = |char: char| char.is_control() || char == ':';
    let name = name.replace(is_odd, "_");
    let file = FileBody::within(folder, &name)?;
    Some((name, file))
}

/// Configures the server to serve the files of `folder`.
pub(crate) fn serve_files(server: &mut Server, folder: PathBuf) {
    server.state(Folder(folder));
}

#[hyperlane(server: Server)]
#[tokio::main]
async fn main() -> Result<(), ServerError> {
    let mut args = std::env::args().skip(1);
    let address = args.next();
    let folder = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    println!("files of {}", folder.display());
    serve_files(&mut server, folder);
    server.bind(address.as_deref().unwrap_or("127.0.0.1:8080"));
    let control = server.run().await?;
    for address in control.addresses() {
        println!("http://{address}");
    }
    control.wait().await;
    Ok(())
}
