//! Files as chunks of text, as an index would have them: pieces of some lines that end where something of the file does.

use greenroom_actors::cache::ChunkHash;
use sha2::{Digest as _, Sha256};

/// From so many lines on a chunk ends where it can: before a line that is not indented, behind an empty one.
const LINES_MIN: usize = 20;
/// With so many lines it ends wherever that is. About 300 tokens come of both, which is what an index is laid out for.
const LINES_MAX: usize = 60;
/// What is larger is not written by hand, bytes.
const FILE_BYTES_MAX: usize = 1 << 20;
/// How the names of files end that are indexed: source and prose.
const INDEXED: &[&str] = &[
    "c", "cc", "cpp", "cs", "css", "go", "h", "hpp", "html", "java", "js", "jsx", "kt", "lua", "md", "mjs",
    "php", "py", "rb", "rs", "rst", "scala", "sh", "sql", "swift", "toml", "ts", "tsx", "yaml", "yml",
];

/// Whether a file of this path is indexed.
pub fn is_indexed(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.')
        .is_some_and(|(_, end)| INDEXED.contains(&end))
}

/// The hashes of a file's chunks, in their order; none of what is no text, or blank.
pub fn hashes(file: &[u8]) -> Vec<ChunkHash> {
    if file.len() > FILE_BYTES_MAX || file.contains(&0) {
        return Vec::new();
    }
    // An index has a faster hash. It does not matter which: the same text has the same.
    chunks(file)
        .into_iter()
        .map(|chunk| Sha256::digest(chunk).into())
        .collect()
}

fn chunks(file: &[u8]) -> Vec<&[u8]> {
    let (mut chunks, mut begin, mut end, mut lines) = (Vec::new(), 0, 0, 0);
    let mut after_empty = false;
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        let is_indented = line.first().is_none_or(u8::is_ascii_whitespace);
        let ends = lines >= LINES_MIN && after_empty && !is_indented;
        if ends || lines == LINES_MAX {
            chunks.push(&file[begin..end]);
            (begin, lines) = (end, 0);
        }
        after_empty = line.trim_ascii().is_empty();
        end += line.len();
        lines += 1;
    }
    chunks.push(&file[begin..]);
    chunks.retain(|chunk| !chunk.trim_ascii().is_empty());
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn functions(names: impl IntoIterator<Item = u32>) -> String {
        let body = "    line();\n".repeat(LINES_MIN);
        names
            .into_iter()
            .map(|name| format!("fn f{name}() {{\n{body}}}\n\n"))
            .collect()
    }

    #[test]
    fn source_and_prose_are_indexed() {
        for path in ["src/main.rs", "README.md", "a.b.py"] {
            assert!(is_indexed(path), "{path}");
        }
        for path in ["Cargo.lock", "a.svg", "Makefile", "x.rs/y", "docs/latest.json"] {
            assert!(!is_indexed(path), "{path}");
        }
    }

    #[test]
    fn a_chunk_ends_with_what_it_is_of() {
        let text = functions(0..3);
        let chunks = chunks(text.as_bytes());
        assert_eq!(chunks.len(), 3);
        assert!(chunks.iter().all(|chunk| chunk.starts_with(b"fn f")));
    }

    #[test]
    fn what_stands_before_does_not_change_the_chunks_behind() {
        let (one, other) = (functions(0..5), functions([9, 0, 1, 2, 3, 4]));
        let (one, other) = (hashes(one.as_bytes()), hashes(other.as_bytes()));
        assert_eq!(one, other[1..]);
    }

    #[test]
    fn what_is_no_text_or_blank_has_no_chunks() {
        assert!(hashes(b"\x00\x01").is_empty() && hashes(b"\n \n").is_empty() && hashes(b"").is_empty());
    }

    proptest! {
        #[test]
        fn chunks_are_the_file_in_pieces_of_at_most_so_many_lines(
            lines in proptest::collection::vec("[ a]{0,3}", 0..300),
        ) {
            let file = lines.join("\n");
            let pieces = chunks(file.as_bytes());
            for piece in &pieces {
                prop_assert!(piece.split_inclusive(|byte| *byte == b'\n').count() <= LINES_MAX);
            }
            let blank = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'a').count();
            prop_assert_eq!(blank(&pieces.concat()), blank(file.as_bytes()));
        }
    }
}
