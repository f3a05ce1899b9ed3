//! Instructions and allocations a request: `cargo bench --bench instructions` counts them by callgrind, which needs Debian's
//! valgrind, and compares them with the committed counts in `benches/instructions.json`; `-- --update` writes those.
//!
//! The server runs with one worker, and its client outside of valgrind; what is counted is the server's work between two dumps,
//! divided by the requests between them. The counts do not depend on the machine's speed or load, but on the compiler, on
//! valgrind, and on the string functions that glibc picks for the processor, which are pinned here as far as glibc allows. So a
//! count that has grown fails the run only where the versions are those of the committed counts.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, net};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use serde::{Deserialize, Serialize};
use tokenecho::pb::{ChatMessage, CreateChatCompletionRequest, Role, chat_message};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// The benchmark ends at its first failure and reports it.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The key that the server accepts.
const KEY: &str = "123";

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.json");

/// What the committed counts were measured with, and the counts.
#[derive(Default, Deserialize, Serialize)]
struct Counts {
    versions: Vec<String>,
    requests: BTreeMap<String, Count>,
}

/// The cost of one request.
#[derive(Clone, Copy, Deserialize, Serialize)]
struct Count {
    instructions: u64,
    allocations: u64,
}

/// A kind of request: its name, how often it is sent, and by how much its count may grow, in percent.
struct Scenario {
    name: &'static str,
    repeats: u64,
    tolerance: u64,
    request: Request<Full<Bytes>>,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    // `cargo test --all-targets` starts it too, to see that it links.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let folder = std::env::temp_dir().join(format!("tokenecho-instructions-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let counted = count_all(&folder).await;
    fs::remove_dir_all(&folder)?;
    let counted = counted?;
    if std::env::args().any(|argument| argument == "--update") {
        fs::write(COMMITTED, serde_json::to_string_pretty(&counted)? + "\n")?;
    }
    compare(&serde_json::from_slice(&fs::read(COMMITTED)?)?, &counted)
}

/// Prints the counts beside the committed ones.
///
/// # Errors
/// A count that has grown by more than it may, with the versions of the committed counts.
fn compare(committed: &Counts, counted: &Counts) -> Outcome<()> {
    let mut table = std::io::stdout();
    let is_comparable = committed.versions == counted.versions;
    if !is_comparable {
        writeln!(table, "other versions than the committed counts have, so none of them fails:")?;
        writeln!(table, "  {:?}\n  {:?}", committed.versions, counted.versions)?;
    }
    writeln!(
        table,
        "{:<24} {:>12} {:>10} {:>8} {:>12}",
        "a request", "instructions", "committed", "", "allocations"
    )?;
    let mut grown = Vec::new();
    for scenario in scenarios()? {
        let (name, now) = (scenario.name, counted.requests[scenario.name]);
        let before = committed.requests.get(name).copied().unwrap_or(now);
        let percent = 100 * now.instructions / before.instructions.max(1);
        writeln!(
            table,
            "{name:<24} {:>12} {:>10} {percent:>7}% {:>12}",
            now.instructions, before.instructions, now.allocations
        )?;
        let allowed = |count: u64| count + count * scenario.tolerance / 100;
        // An allocation more or less is a matter of rounding.
        if now.instructions > allowed(before.instructions)
            || now.allocations > allowed(before.allocations) + 1
        {
            grown.push(name);
        }
    }
    if is_comparable && !grown.is_empty() {
        return Err(format!(
            "more than the committed counts: {}. If that is meant, run with --update and commit the reason",
            grown.join(", ")
        )
        .into());
    }
    Ok(())
}

async fn count_all(folder: &Path) -> Outcome<Counts> {
    let mut server = Server::start(folder).await?;
    let mut requests = BTreeMap::new();
    for Scenario { name, repeats, request, .. } in scenarios()? {
        let mut client = Client::connect(server.address, &request).await?;
        // Buffers grow and caches fill at first.
        for _ in 0..repeats.div_ceil(4) {
            client.send(&request).await?;
        }
        server.dump()?;
        for _ in 0..repeats {
            client.send(&request).await?;
        }
        let Count { instructions, allocations } = server.dump()?;
        let count = Count {
            instructions: instructions / repeats,
            allocations: (allocations + repeats / 2) / repeats,
        };
        requests.insert(name.to_owned(), count);
    }
    let versions = vec![version("rustc")?, version("valgrind")?, version("ldd")?, vector_extensions()?];
    Ok(Counts { versions, requests })
}

/// The first line of a program's version.
fn version(program: &str) -> Outcome<String> {
    let output = Command::new(program).arg("--version").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

/// What the processor has of that by which libraries choose their functions at run time.
fn vector_extensions() -> Outcome<String> {
    let flags = fs::read_to_string("/proc/cpuinfo")?;
    let has = |extension: &&str| flags.split_whitespace().any(|flag| flag == *extension);
    Ok(["avx2", "avx512f", "avx512vl", "erms", "fsrm"].into_iter().filter(has).collect::<Vec<_>>().join(" "))
}

/// A server under callgrind, which is killed when this value is dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    dumps: PathBuf,
    dumped: u32,
}

impl Server {
    async fn start(folder: &Path) -> Outcome<Self> {
        const PATIENCE: Duration = Duration::from_secs(60);
        // Another process is unlikely to take the port between the end of this listener and the start of the server's.
        let address = net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let dumps = folder.join("dump");
        let mut command = Command::new("valgrind");
        command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", dumps.display()));
        command.arg(env!("CARGO_BIN_EXE_tokenecho")).arg(format!("--port={}", address.port()));
        command.args(["--grpc-port", "off", "--admin-port", "off", "--api-key", KEY]);
        command.args(["--log-format", "json", "--ttft", "0", "--itl", "0", "--reply-prefix", ""]);
        command.env("TOKIO_WORKER_THREADS", "1").env("RUST_LOG", "info");
        command.env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-ERMS,-FSRM");
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.map_err(|error| format!("valgrind: {error} (apt-get install valgrind)"))?;
        let mut server = Self { child, address, dumps, dumped: 0 };
        let begun = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("the server ended at its start, {status}").into());
            }
            if begun.elapsed() > PATIENCE {
                return Err("the server did not start".into());
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(server)
    }

    /// What has been counted since the last dump.
    fn dump(&mut self) -> Outcome<Count> {
        let dumped = Command::new("callgrind_control").args(["-d", &self.child.id().to_string()]).output()?;
        if !dumped.status.success() {
            return Err(format!("callgrind_control: {}", String::from_utf8_lossy(&dumped.stderr)).into());
        }
        self.dumped += 1;
        let text = fs::read_to_string(format!("{}.{}", self.dumps.display(), self.dumped))?;
        let totals =
            text.lines().find_map(|line| line.strip_prefix("totals: ")).ok_or("a dump without totals")?;
        Ok(Count { instructions: totals.trim().parse()?, allocations: allocations(&text) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails only if the server is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How often the allocator is called, by a dump in callgrind's format: `cfn=(12) malloc` names what the next `calls=` call, and
/// a number that has been named stands alone afterwards.
fn allocations(dump: &str) -> u64 {
    const ALLOCATE: [&str; 4] = ["malloc", "calloc", "realloc", "posix_memalign"];
    let mut allocators = Vec::new();
    let (mut is_allocator, mut calls) = (false, 0);
    for line in dump.lines() {
        if let Some(named) = line.strip_prefix("cfn=").or_else(|| line.strip_prefix("fn=")) {
            let (id, name) = named.split_once(' ').unwrap_or((named, ""));
            if ALLOCATE.contains(&name) {
                allocators.push(id.to_owned());
            }
            is_allocator = line.starts_with("cfn=") && allocators.iter().any(|known| known == id);
        } else if let Some(called) = line.strip_prefix("calls=").filter(|_| is_allocator) {
            calls += called.split(' ').next().and_then(|count| count.parse::<u64>().ok()).unwrap_or_default();
        }
    }
    calls
}

/// One connection of the protocol that a request is for.
enum Client {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    async fn connect(address: SocketAddr, request: &Request<Full<Bytes>>) -> Outcome<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let io = TokioIo::new(socket);
        if request.uri().authority().is_some() {
            let (client, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            Ok(Self::Http2(client))
        } else {
            let (client, connection) = http1::handshake(io).await?;
            tokio::spawn(connection);
            Ok(Self::Http1(client))
        }
    }

    /// Sends a request and reads its answer to the end.
    async fn send(&mut self, request: &Request<Full<Bytes>>) -> Outcome<()> {
        let response: Response<Incoming> = match self {
            Self::Http1(client) => {
                client.ready().await?;
                client.send_request(request.clone()).await?
            }
            Self::Http2(client) => {
                client.ready().await?;
                client.send_request(request.clone()).await?
            }
        };
        response.into_body().collect().await?;
        Ok(())
    }
}

fn scenarios() -> Outcome<Vec<Scenario>> {
    let often = |name, request| Scenario { name, repeats: 200, tolerance: 3, request };
    let chat = |words, streamed| http(words, streamed, KEY, "");
    // How often a paced stream is polled depends on the clock.
    let paced = Scenario {
        name: "paced stream, 64 words",
        repeats: 8,
        tolerance: 10,
        request: http(64, true, KEY, r#","simulation":{"itl":"5ms"}"#)?,
    };
    Ok(vec![
        often("unary, 64 words", chat(64, false)?),
        often("unary, 640 words", chat(640, false)?),
        often("stream, 64 words", chat(64, true)?),
        often("stream, 640 words", chat(640, true)?),
        often("gRPC unary, 64 words", grpc("Create", 64)?),
        often("gRPC unary, 640 words", grpc("Create", 640)?),
        often("gRPC stream, 64 words", grpc("Stream", 64)?),
        often("gRPC stream, 640 words", grpc("Stream", 640)?),
        often("refused key", http(64, false, "wrong", "")?),
        often("bad request", http(1, false, KEY, r#","n":0"#)?),
        paced,
    ])
}

fn words(count: usize) -> String {
    vec!["word"; count].join(" ")
}

fn http(count: usize, streamed: bool, key: &str, fields: &str) -> Outcome<Request<Full<Bytes>>> {
    let message = words(count);
    let body = format!(
        r#"{{"model":"gpt-4o","stream":{streamed},"messages":[{{"role":"user","content":"{message}"}}]{fields}}}"#
    );
    let request = Request::post("/v1/chat/completions").header("host", "localhost");
    let request = request.header("authorization", format!("Bearer {key}"));
    Ok(request.header("content-type", "application/json").body(Full::from(body))?)
}

fn grpc(kind: &str, count: usize) -> Outcome<Request<Full<Bytes>>> {
    let content = Some(chat_message::Content::Text(words(count)));
    let message = ChatMessage { role: Role::User.into(), content, ..ChatMessage::default() };
    let request = CreateChatCompletionRequest {
        model: Some("gpt-4o".into()),
        messages: vec![message],
        ..Default::default()
    };
    let encoded = request.encode_to_vec();
    let body = [&[0][..], &u32::try_from(encoded.len())?.to_be_bytes(), &encoded].concat();
    let path = format!("http://localhost/tokenecho.v1.ChatService/{kind}ChatCompletion");
    let request = Request::post(path).header("authorization", format!("Bearer {KEY}"));
    Ok(request.header("content-type", "application/grpc").header("te", "trailers").body(Full::from(body))?)
}
