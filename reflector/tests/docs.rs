//! What the documents name is there: files, functions and tests of docs/conformance.md, and the pages
//! that README and docs link to.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

/// Rows that docs/conformance.md has at least: so many must have been read.
const CLAUSES: usize = 100;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The code and the test column of each row of the tables.
fn columns(page: &str) -> Vec<(&str, &str)> {
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        match cells.as_slice() {
            [_, _, code, test, ""] => Some((*code, *test)),
            _ => panic!("no row of four columns: {line}"),
        }
    });
    rows.filter(|(code, _)| *code != "code" && *code != "---")
        .collect()
}

/// Names of a column with the file that each should be in; paths that there are not are named.
fn citations<'a>(column: &'a str, problems: &mut Vec<String>) -> Vec<(PathBuf, &'a str)> {
    let mut file = None;
    let mut names = Vec::new();
    for token in quoted(column) {
        let is_name = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'_';
        if token.contains('/') {
            let path = root().join(token);
            if !path.exists() {
                problems.push(format!("there is no {token}"));
            }
            file = Some(path);
        } else if token.bytes().all(is_name) {
            match &file {
                Some(file) => names.push((file.clone(), token)),
                None => problems.push(format!("{token} stands behind no file")),
            }
        }
        // Options and their values are neither.
    }
    names
}

/// Whether a file defines this name.
fn defines(text: &str, name: &str, kinds: &[&str]) -> bool {
    let whole_word = |rest: &str| {
        let next = rest.bytes().next().unwrap_or(b' ');
        !next.is_ascii_alphanumeric() && next != b'_'
    };
    kinds.iter().any(|kind| {
        let definition = format!("{kind}{name}");
        text.match_indices(&definition)
            .any(|(at, _)| whole_word(&text[at + definition.len()..]))
    })
}

/// Whether a file has a test of this name: its attribute stands between the function before and it.
fn is_test(text: &str, name: &str) -> bool {
    let definition = format!("fn {name}(");
    text.match_indices(&definition).any(|(at, _)| {
        let before = text[..at].rsplit("fn ").next().unwrap_or_default();
        before.contains("#[test]")
    })
}

#[test]
fn the_conformance_page_cites_code_and_tests_that_there_are() {
    // The last three are C.
    const CODE: [&str; 9] = [
        "fn ", "struct ", "enum ", "const ", "trait ", "type ", "int ", "void ", " *",
    ];
    let page = read(&root().join("docs/conformance.md"));
    let rows = columns(&page);
    assert!(rows.len() >= CLAUSES, "{} rows", rows.len());
    let mut problems = Vec::new();
    let mut tests = 0;
    for (code, test) in rows {
        for (file, name) in citations(code, &mut problems) {
            if file.is_file() && !defines(&read(&file), name, &CODE) {
                problems.push(format!("{} defines no {name}", file.display()));
            }
        }
        for (file, name) in citations(test, &mut problems) {
            tests += 1;
            if file.is_file() && !is_test(&read(&file), name) {
                problems.push(format!("{} has no test {name}", file.display()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(tests >= CLAUSES, "{tests} tests");
}

#[test]
fn links_lead_to_pages_that_there_are() {
    let docs = fs::read_dir(root().join("docs")).unwrap();
    let pages = docs.map(|entry| entry.unwrap().path());
    let pages: Vec<PathBuf> = pages
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .chain([root().join("README.md"), root().join("CHANGELOG.md")])
        .collect();
    let mut links = 0;
    for page in pages {
        let text = read(&page);
        for link in text.split("](").skip(1) {
            let link = link.split([')', '#']).next().unwrap_or_default();
            if link.is_empty() || link.starts_with("http") {
                continue;
            }
            links += 1;
            let target = page.parent().unwrap().join(link);
            assert!(target.exists(), "{} links to {link}", page.display());
        }
    }
    assert!(links > 10, "{links} links");
}

#[test]
fn what_is_not_there_is_found_out() {
    let text = "fn answer(x: u8) {}\nstatic int police(void)\n";
    assert!(defines(text, "answer", &["fn "]));
    assert!(!defines(text, "answ", &["fn "]), "the beginning of a name");
    assert!(!defines(text, "police", &["fn "]));
    assert!(defines(text, "police", &["int "]));
    let text = "#[test]\nfn works() {}\n\nfn helper() {}\n";
    assert!(is_test(text, "works") && !is_test(text, "helper") && !is_test(text, "work"));
    let mut problems = Vec::new();
    citations("`no/such/file.rs` `name`", &mut problems);
    citations("`name` alone", &mut problems);
    assert_eq!(problems.len(), 2, "{problems:?}");
}
