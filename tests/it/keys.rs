//! Key files: what they may contain, and how changes are loaded while the server runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokenecho::Server;
use tokenecho::StartError;
use tokio::time::Instant;

use crate::support::process::Process;
use crate::support::{Target, bare_echo, eventually, metric, start, with_admin};

/// A temporary folder of one test, deleted when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("tokenecho-keys-{:032x}", rand::random::<u128>()));
        std::fs::create_dir(&path).expect("a temporary folder");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().expect("inside the folder")).expect("a folder");
        // Replaced by a rename, as editors and mounts do it: the server reads either the old file or the new one.
        let new = self.0.join("..new");
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(new, &path).expect("in place");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn with_keys(path: &Path) -> Server {
    let path = path.to_owned();
    start(with_admin(bare_echo()).configure(|config| config.auth.api_key_file = Some(path))).await
}

/// The same in its own process, which reloads its keys at once on SIGHUP.
async fn process_with_keys(path: &Path) -> Process {
    Process::start(&["--api-key-file", path.to_str().expect("UTF-8")], &[]).await
}

/// Whether the server accepts this key.
async fn accepts(server: &impl Target, key: &str) -> bool {
    let url = format!("http://{}/v1/models", server.addresses().api);
    reqwest::Client::new().get(url).bearer_auth(key).send().await.expect("an answer").status() == 200
}

#[tokio::test]
async fn a_file_holds_keys_digests_comments_and_blank_lines() {
    let folder = Folder::new();
    // The digest of "test".
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let file = folder
        .write("keys", &format!("# a comment\n\nplain\r\nalice:named\nbob:sha256:{digest}\n  spaced  \n"));

    let server = with_keys(&file).await;

    for key in ["plain", "named", "test", "spaced"] {
        assert!(accepts(&server, key).await, "{key}");
    }
    for key in ["alice:named", "# a comment", "", digest, "alice"] {
        assert!(!accepts(&server, key).await, "{key}");
    }
}

#[tokio::test]
async fn a_changed_file_is_reloaded_within_five_seconds() {
    let folder = Folder::new();
    let server = with_keys(&folder.write("keys", "old")).await;
    assert!(accepts(&server, "old").await);

    let begun = Instant::now();
    folder.write("keys", "old\nnew");
    eventually("both are accepted", async || accepts(&server, "new").await && accepts(&server, "old").await)
        .await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    folder.write("keys", "new");
    eventually("the old one is not", async || !accepts(&server, "old").await).await;

    assert!(accepts(&server, "new").await);
}

#[tokio::test]
async fn a_swapped_secret_is_reloaded() {
    let folder = Folder::new();
    folder.write("..2024_1/alice", "first");
    folder.write("..2024_2/alice", "second");
    folder.write("..2024_2/bob", "third");
    let link = |to: &str| {
        let new = folder.0.join("..data_tmp");
        std::os::unix::fs::symlink(to, &new).expect("a link");
        std::fs::rename(new, folder.0.join("..data")).expect("swapped");
    };
    link("..2024_1");
    std::os::unix::fs::symlink("..data/alice", folder.0.join("alice")).expect("a link");
    let server = with_keys(&folder.0).await;
    assert!(accepts(&server, "first").await);

    link("..2024_2");
    std::os::unix::fs::symlink("..data/bob", folder.0.join("bob")).expect("a link");

    eventually("the new key is accepted", async || accepts(&server, "second").await).await;
    eventually("and the key with a new name", async || accepts(&server, "third").await).await;
    assert!(!accepts(&server, "first").await);
}

#[tokio::test]
async fn a_broken_change_keeps_the_keys_and_is_counted_once() {
    let folder = Folder::new();
    let file = folder.write("keys", "good");
    let server = process_with_keys(&file).await;
    let failures = async || metric(&server, "tokenecho_key_reload_failures_total").await;

    for (count, broken) in [(1, "good\nnot a key"), (2, ""), (3, "alice:sha256:12")] {
        folder.write("keys", broken);
        server.signal("-HUP").await;
        eventually("it is counted", async || failures().await == count).await;
        assert!(accepts(&server, "good").await, "{broken:?}");
    }
    std::fs::remove_file(&file).expect("ours");
    server.signal("-HUP").await;
    eventually("a missing file is counted", async || failures().await == 4).await;
    assert!(accepts(&server, "good").await);
    server.signal("-HUP").await;
    server.signal("-HUP").await;

    folder.write("keys", "better");
    server.signal("-HUP").await;
    eventually("a good change is taken", async || accepts(&server, "better").await).await;
    assert_eq!(failures().await, 4, "each failure is counted once, however often the file is read");
}

#[tokio::test]
async fn a_server_does_not_start_without_a_valid_key_in_its_file() {
    let folder = Folder::new();
    for text in ["", "# only a comment\n\n", "two words", "sha256:zz"] {
        let path = folder.write("keys", text);
        let refused = bare_echo().configure(|config| config.auth.api_key_file = Some(path)).start().await;
        let error = refused.expect_err(text);
        assert!(matches!(error, StartError::Keys(_)), "{error}");
        assert!(!error.to_string().contains("two words"), "{error}");
    }
    let missing = folder.0.join("missing");
    assert!(bare_echo().configure(|config| config.auth.api_key_file = Some(missing)).start().await.is_err());
}

#[tokio::test]
async fn odd_keys_are_401() {
    let server = start(bare_echo().api_key("123").expect("a key")).await;
    let url = format!("{}/models", server.base_url());
    let ask = async |value: &[u8]| {
        let value = reqwest::header::HeaderValue::from_bytes(value).expect("a header");
        reqwest::Client::new()
            .get(&url)
            .header("authorization", value)
            .send()
            .await
            .expect("an answer")
            .status()
            .as_u16()
    };

    assert_eq!(ask(b"Bearer 123").await, 200);
    assert_eq!(ask(b"Bearer   123").await, 200, "one space or more");
    let long = [&b"Bearer "[..], &vec![b'x'; 20_000]].concat();
    for value in [&b"Bearer \xff\xfe"[..], b"Bearer 123 x", b"Bearer  ", b"Bearer\t123", b"123", &long] {
        assert_eq!(ask(value).await, 401, "{}", String::from_utf8_lossy(&value[..value.len().min(40)]));
    }
}

#[tokio::test]
async fn a_pipe_in_place_of_a_key_file_is_an_error_and_does_not_stop_the_server() {
    let folder = Folder::new();
    let file = folder.write("keys", "good");
    let server = with_keys(&file).await;
    std::fs::remove_file(&file).expect("ours");
    assert!(std::process::Command::new("mkfifo").arg(&file).status().expect("it runs").success());

    let failures = async || metric(&server, "tokenecho_key_reload_failures_total").await;
    eventually("it is counted", async || failures().await == 1).await;
    let refused = bare_echo().configure(|config| config.auth.api_key_file = Some(file.clone())).start().await;
    folder.write("keys", "\u{feff}better");

    assert!(matches!(refused.expect_err("a pipe"), StartError::Keys(_)));
    eventually("a good change is taken", async || accepts(&server, "better").await).await;
}

#[tokio::test]
async fn a_key_name_whose_file_is_broken_keeps_its_key() {
    let folder = Folder::new();
    for name in ["alice", "bob", "carol"] {
        folder.write(&format!("keys/{name}"), name);
    }
    let server = process_with_keys(&folder.0.join("keys")).await;
    let failures = async || metric(&server, "tokenecho_key_reload_failures_total").await;

    folder.write("keys/alice", "");
    server.signal("-HUP").await;
    eventually("an empty file is counted", async || failures().await == 1).await;
    folder.write("keys/alice", "new");
    server.signal("-HUP").await;
    eventually("alice has a new key", async || accepts(&server, "new").await).await;
    std::fs::remove_file(folder.0.join("keys/bob")).expect("ours");
    std::os::unix::fs::symlink("nowhere", folder.0.join("keys/bob")).expect("a link");
    server.signal("-HUP").await;
    eventually("a link to nowhere is counted", async || failures().await == 2).await;
    assert!(accepts(&server, "bob").await && accepts(&server, "carol").await);

    std::fs::remove_file(folder.0.join("keys/bob")).expect("ours");
    server.signal("-HUP").await;
    eventually("bob's key is removed", async || !accepts(&server, "bob").await).await;
    assert_eq!(failures().await, 2);
}
