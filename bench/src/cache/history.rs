//! The history of a git repository: its commits one after the other, each with all of its files as chunks. Read by `git`.

use anyhow::{Context as _, Result, bail, ensure};
use greenroom_actors::cache::ChunkHash;
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

use super::chunks;

/// Commits that are gone through, the newest.
const COMMITS_MAX: usize = 500;
/// Where there are fewer, nothing is to be learned.
const COMMITS_MIN: usize = 10;

/// A file of a commit: the name of its content, and that in chunks.
pub type File = (Rc<str>, Rc<[ChunkHash]>);
/// The files of a commit by path.
pub type Tree = BTreeMap<String, File>;

/// See the module's description.
pub struct History {
    folder: PathBuf,
    /// Oldest first.
    pub commits: Vec<String>,
    contents: Contents,
    known: HashMap<String, File>,
}

impl History {
    /// That of a repository's first parents. Errors: it is no repository, or has hardly any history, as a shallow clone.
    pub fn of(folder: &Path) -> Result<Self> {
        let shallow = git(folder, &["rev-parse", "--is-shallow-repository"])?;
        ensure!(
            shallow.trim() != "true",
            "{} is a shallow clone, without its history: `git fetch --unshallow` brings it",
            folder.display()
        );
        let newest = format!("--max-count={COMMITS_MAX}");
        let listed = git(folder, &["rev-list", "--first-parent", &newest, "HEAD"])?;
        let mut commits: Vec<String> = listed.lines().map(str::to_owned).collect();
        commits.reverse();
        ensure!(
            commits.len() >= COMMITS_MIN,
            "{} has {} commits, and {COMMITS_MIN} are needed",
            folder.display(),
            commits.len()
        );
        Ok(Self {
            contents: Contents::of(folder)?,
            folder: folder.to_owned(),
            commits,
            known: HashMap::new(),
        })
    }

    /// The files of a commit that are indexed.
    pub fn tree(&mut self, commit: &str) -> Result<Tree> {
        let listed = git(&self.folder, &["ls-tree", "-r", "-z", "--full-tree", commit])?;
        let mut tree = Tree::new();
        for (blob, path) in listed
            .split('\0')
            .filter_map(blob)
            .filter(|(_, path)| chunks::is_indexed(path))
        {
            let file = match self.known.get(blob) {
                Some(file) => file.clone(),
                None => {
                    let file: File = (blob.into(), chunks::hashes(&self.contents.read(blob)?).into());
                    self.known.insert(blob.to_owned(), file.clone());
                    file
                }
            };
            tree.insert(path.to_owned(), file);
        }
        Ok(tree)
    }
}

/// The content's name and the path in a line of `git ls-tree`, if it is a file.
fn blob(line: &str) -> Option<(&str, &str)> {
    let (kind, path) = line.split_once('\t')?;
    let mut words = kind.split(' ');
    let (mode, kind, name) = (words.next()?, words.next()?, words.next()?);
    // A link's content is another file's name.
    (kind == "blob" && mode != "120000").then_some((name, path))
}

fn git(folder: &Path, words: &[&str]) -> Result<String> {
    let mut command = Command::new("git");
    let output = command
        .arg("-C")
        .arg(folder)
        .args(words)
        .stdin(Stdio::null())
        .output();
    let output = output.context("git has to be in PATH")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("git {} in {}: {}", words.join(" "), folder.display(), said.trim());
    }
    // A path that is not UTF-8 is none of those that are indexed, or one more that is.
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A running `git cat-file`, ended when it is dropped.
struct Contents {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Contents {
    fn of(folder: &Path) -> Result<Self> {
        let mut command = Command::new("git");
        command.arg("-C").arg(folder).args(["cat-file", "--batch"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (ask, answers) = child.stdin.take().zip(child.stdout.take()).context("no pipes")?;
        Ok(Self {
            child,
            ask,
            answers: BufReader::new(answers),
        })
    }

    fn read(&mut self, blob: &str) -> Result<Vec<u8>> {
        writeln!(self.ask, "{blob}")?;
        // `NAME blob LENGTH`, then the content and an end of line.
        let mut head = String::new();
        self.answers.read_line(&mut head)?;
        let length = head
            .trim_end()
            .rsplit(' ')
            .next()
            .and_then(|length| length.parse().ok());
        let length: usize = length.with_context(|| format!("git cat-file says {head:?}"))?;
        let mut content = vec![0; length + 1];
        self.answers.read_exact(&mut content)?;
        content.pop();
        Ok(content)
    }
}

impl Drop for Contents {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_and_links_and_other_repositories_are_not() {
        assert_eq!(blob("100644 blob 12ab\tsrc/a b.rs"), Some(("12ab", "src/a b.rs")));
        for line in ["120000 blob 12ab\tlink", "160000 commit 12ab\tother", ""] {
            assert_eq!(blob(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_folder_without_a_history_is_an_error_that_says_so() {
        let folder = std::env::temp_dir().join(format!("greenroom-bench-no-history-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let mine = |words: &[&str]| git(&folder, words).expect("done");
        let error = History::of(&folder).err().expect("it is no repository");
        assert!(error.to_string().contains("not a git repository"), "{error:#}");
        mine(&["init", "--quiet"]);
        let author = ["-c", "user.name=n", "-c", "user.email=e@localhost"];
        mine(
            &[
                &author[..],
                &["commit", "--quiet", "--allow-empty", "--message", "one"],
            ]
            .concat(),
        );
        let error = History::of(&folder).err().expect("it is too short");
        assert!(
            error.to_string().contains("has 1 commits, and 10 are needed"),
            "{error:#}"
        );
        mine(
            &[
                &author[..],
                &["commit", "--quiet", "--allow-empty", "--message", "two"],
            ]
            .concat(),
        );
        let from = format!("file://{}", folder.display());
        mine(&["clone", "--quiet", "--depth", "1", &from, "shallow"]);
        let error = History::of(&folder.join("shallow")).err().expect("it is shallow");
        assert!(error.to_string().contains("shallow clone"), "{error:#}");
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
