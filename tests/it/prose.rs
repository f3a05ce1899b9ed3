//! Plain English: words of the old voice stand in no comment, string or document. Identifiers are free.

use std::path::{Path, PathBuf};

/// Words and phrases that name no actor or no fact; STYLE.md has what to write instead.
const BANNED: [&str; 13] = [
    "told", "tell", "tells", "say", "says", "said", "nobody", "no one", "whoever", "in form", "is no",
    "are no", "at fault",
];

/// Text that is a name of the outside world, or what the product answers by contract.
const ALLOWED: [&str; 2] = ["there is no", "are no longer"];

fn files(root: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(root)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a folder").flatten();
            open.extend(entries.map(|entry| entry.path()).filter(|path| !path.ends_with("node_modules")));
        } else if path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known)) {
            found.push(path);
        }
    }
    found
}

/// The comments and the string literals of a line of Rust or of a proto file, without its code.
fn prose_of(line: &str) -> String {
    let mut prose = String::new();
    let (mut in_string, mut is_escaped) = (false, false);
    for (at, c) in line.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if in_string => is_escaped = true,
            '"' => {
                in_string = !in_string;
                prose.push(' ');
            }
            '/' if !in_string && line[at..].starts_with("//") => return prose + &line[at..],
            _ if in_string => prose.push(c),
            _ => {}
        }
    }
    prose
}

/// The banned words in a text, which are whole words in any case.
fn banned_in(text: &str) -> Vec<&'static str> {
    let mut text = text.to_lowercase();
    for allowed in ALLOWED {
        text = text.replace(allowed, "");
    }
    let words: Vec<_> = text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').collect();
    let joined = format!(" {} ", words.join(" "));
    BANNED.into_iter().filter(|word| joined.contains(&format!(" {word} "))).collect()
}

#[test]
fn a_word_is_found_in_comments_and_strings_and_not_in_code() {
    assert_eq!(banned_in(&prose_of(r#"let told = say("it is no such"); // who said it"#)), ["said", "is no"]);
    assert_eq!(banned_in(&prose_of("said(in_form); there.is.no(one)")), [""; 0]);
}

#[test]
fn comments_strings_and_documents_use_plain_words() {
    let code = ["src", "build.rs", "proto", "benches", "examples", "fuzz/targets"];
    let code = code.into_iter().flat_map(|root| files(root, &["rs", "proto"]));
    let documents = ["README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "deploy"];
    let documents = documents.into_iter().flat_map(|root| files(root, &["md", "yaml", "sh"]));
    let lines =
        |path: &Path| std::fs::read_to_string(path).expect("text").lines().map(str::to_owned).collect();
    let mut found = Vec::new();
    for (path, is_code) in code.map(|path| (path, true)).chain(documents.map(|path| (path, false))) {
        let lines: Vec<String> = lines(&path);
        for (number, line) in lines.iter().enumerate() {
            let prose = if is_code { prose_of(line) } else { line.clone() };
            for word in banned_in(&prose) {
                found.push(format!("{}:{}: {word}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }

    assert!(found.is_empty(), "{}", found.join("\n"));
}
