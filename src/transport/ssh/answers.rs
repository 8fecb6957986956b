//! The answers of a lane: lines with the token, and as many bytes after each as it says.

use std::collections::HashMap;
use std::io;

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _};

use super::archive;
use super::lane::LaneFailure;
use super::request::Request;
use crate::transport::failure::{kind_of_message, says_missing};
use crate::transport::landing::Landing;
use crate::transport::{
    Answer, CommandAnswer, Destination, Fetch, Fetched, Occupied, Operation, OperationError,
    OperationErrorKind, STDERR_LIMIT_BYTES, STDOUT_LIMIT_BYTES, paths,
};

/// Longer than any line of ours.
const LINE_LIMIT_BYTES: u64 = 4096;

/// How long the names of one directory may be altogether: a million names of 64 bytes.
const NAMES_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// What the host keeps of a program's words.
const WORDS_LIMIT_BYTES: usize = 8 * 1024;

/// How much is read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// What is known of one file of a fetch.
#[derive(Debug, Clone)]
enum FileState {
    Unknown,
    Expected { size_bytes: u64, sha256: String },
    Known(Fetched),
    Failed(OperationError),
}

/// Reads all answers to a request, up to its end.
pub(super) async fn read(
    stream: &mut (impl AsyncBufRead + Unpin),
    token: &str,
    request: &Request,
) -> Result<Vec<Answer>, LaneFailure> {
    let mut reader = Reader {
        stream,
        request,
        answers: request.answers.clone(),
        files: vec![FileState::Unknown; request.files.len()],
    };
    loop {
        let line = reader.line().await?;
        if line.is_empty() {
            continue;
        }
        let words: Vec<&str> = match line.strip_prefix(token) {
            Some(rest) => rest.split_ascii_whitespace().collect(),
            None => return Err(garbled("there is something else where an answer should begin")),
        };
        match words.as_slice() {
            ["end"] => return reader.finish(),
            ["0", "full"] => {
                return Err(garbled(
                    "its temporary directory cannot be written: is there space in TMPDIR or /tmp?",
                ));
            }
            ["0", "archive"] => reader.archive().await?,
            [number, word, rest @ ..] => reader.one(parse(number)?, word, rest).await?,
            _ => return Err(garbled(&line)),
        }
    }
}

fn garbled(message: &str) -> LaneFailure {
    LaneFailure::Garbled(message.to_owned())
}

fn parse<T: std::str::FromStr>(word: &str) -> Result<T, LaneFailure> {
    word.parse().map_err(|_| garbled(&format!("{word:?} is no number")))
}

struct Reader<'a, S> {
    stream: &'a mut S,
    request: &'a Request,
    answers: Vec<Option<Answer>>,
    files: Vec<FileState>,
}

impl<S: AsyncBufRead + Unpin> Reader<'_, S> {
    async fn line(&mut self) -> Result<String, LaneFailure> {
        let mut line = Vec::new();
        (&mut *self.stream).take(LINE_LIMIT_BYTES).read_until(b'\n', &mut line).await?;
        match line.pop() {
            Some(b'\n') => Ok(String::from_utf8_lossy(&line).into_owned()),
            Some(_) if line.len() as u64 + 1 == LINE_LIMIT_BYTES => Err(garbled("a line is too long")),
            _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }

    async fn bytes(&mut self, size: &str, most: usize) -> Result<Vec<u8>, LaneFailure> {
        let size: usize = parse(size)?;
        if size > most {
            return Err(garbled(&format!("there are {size} bytes where at most {most} should be")));
        }
        let mut bytes = Vec::new();
        (&mut *self.stream).take(size as u64).read_to_end(&mut bytes).await?;
        if bytes.len() < size {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(bytes)
    }

    async fn words(&mut self, size: &str) -> Result<String, LaneFailure> {
        let bytes = self.bytes(size, WORDS_LIMIT_BYTES).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn one(&mut self, number: usize, word: &str, rest: &[&str]) -> Result<(), LaneFailure> {
        match (word, rest) {
            ("done", []) => self.answer(number, Answer::Done),
            ("failed", [size]) => {
                let error = OperationError::told(&self.words(size).await?);
                self.answer(number, Answer::Failed(error))
            }
            ("corrupt", [size]) => {
                let error = spoiled(&self.words(size).await?);
                self.answer(number, Answer::Failed(error))
            }
            ("unmarked", [size]) => {
                let words = self.words(size).await?;
                let error = self.unmarked(number, &words);
                self.answer(number, Answer::Failed(error))
            }
            ("unlisted", [size]) => {
                let words = self.words(size).await?;
                let is_absent = words.contains("No such file or directory");
                let refusal = || Answer::Failed(OperationError::told(&words));
                self.answer(number, if is_absent { Answer::Names(Vec::new()) } else { refusal() })
            }
            ("names", [size]) => {
                let bytes = self.bytes(size, NAMES_LIMIT_BYTES).await?;
                self.answer(number, Answer::Names(names(&bytes)))
            }
            ("endless", []) => self.answer(number, Answer::Failed(OperationError::too_much())),
            ("ran", [code, stdout, stderr]) => {
                let exit_code = parse(code)?;
                let stdout = self.bytes(stdout, STDOUT_LIMIT_BYTES).await?;
                let stderr = self.bytes(stderr, STDERR_LIMIT_BYTES).await?;
                let stderr = String::from_utf8_lossy(&stderr).into_owned();
                self.answer(number, Answer::Ran(CommandAnswer { exit_code, stdout, stderr }))
            }
            _ => self.file(number, word, rest).await,
        }
    }

    fn answer(&mut self, number: usize, answer: Answer) -> Result<(), LaneFailure> {
        match self.answers.get_mut(number) {
            Some(place @ None) => *place = Some(answer),
            _ => return Err(garbled(&format!("operation {number} is answered, and nobody waits for it"))),
        }
        Ok(())
    }

    fn unmarked(&self, number: usize, words: &str) -> OperationError {
        if kind_of_message(words) == OperationErrorKind::Storage {
            return OperationError::told(words);
        }
        match self.request.operations.get(number) {
            Some(Operation::Put(put)) => match &put.occupied {
                Occupied::Replace { marker } | Occupied::MoveAside { marker, .. } => {
                    OperationError::unmarked(&put.directory, marker)
                }
            },
            Some(Operation::RemoveTree { directory, marker }) => OperationError::unmarked(directory, marker),
            _ => OperationError::told(words),
        }
    }

    /// An answer on one file of a fetch.
    async fn file(&mut self, number: usize, word: &str, rest: &[&str]) -> Result<(), LaneFailure> {
        let path = self.path(number)?;
        let state = match (word, rest) {
            ("missing", []) => FileState::Known(Fetched::Missing { path }),
            ("large", [size]) => FileState::Known(Fetched::TooLarge { path, size_bytes: parse(size)? }),
            ("file", [size, sha256]) => {
                FileState::Expected { size_bytes: parse(size)?, sha256: (*sha256).to_owned() }
            }
            ("changed", []) => FileState::Failed(corrupted(&path)),
            ("unread", [size]) => {
                let words = self.words(size).await?;
                if says_missing(&words) {
                    FileState::Known(Fetched::Missing { path })
                } else {
                    FileState::Failed(OperationError::told(&words))
                }
            }
            _ => return Err(garbled(&format!("{word:?} is no answer"))),
        };
        if let Some(place) = self.files.get_mut(number) {
            *place = state;
        }
        Ok(())
    }

    fn wanted(&self, number: usize) -> Option<(&Fetch, &str)> {
        let wanted = self.request.files.get(number)?;
        let Some(Operation::Fetch(fetch)) = self.request.operations.get(wanted.operation) else {
            return None;
        };
        let file = fetch.files.get(wanted.file)?;
        Some((fetch, &file.path))
    }

    fn path(&self, number: usize) -> Result<String, LaneFailure> {
        let wanted = self.wanted(number).map(|(_, path)| path.to_owned());
        wanted.ok_or_else(|| garbled(&format!("nobody asked for file {number}")))
    }

    async fn archive(&mut self) -> Result<(), LaneFailure> {
        let expected: HashMap<&[u8], usize> = self
            .files
            .iter()
            .enumerate()
            .filter(|(_, state)| matches!(state, FileState::Expected { .. }))
            .filter_map(|(number, _)| Some((self.request.files.get(number)?.path.as_bytes(), number)))
            .collect();
        while let Some(entry) = archive::next_entry(self.stream).await? {
            let number = expected.get(entry.path.as_slice()).copied();
            let number =
                number.ok_or_else(|| garbled("there is a file in the archive that nobody asked for"))?;
            let state = self.bring(number, entry.size_bytes).await?;
            if let Some(place) = self.files.get_mut(number) {
                *place = state;
            }
        }
        Ok(())
    }

    /// Brings one file of the archive to where it is wanted.
    async fn bring(&mut self, number: usize, size_bytes: u64) -> Result<FileState, LaneFailure> {
        let path = self.path(number)?;
        let Some(FileState::Expected { size_bytes: wanted_bytes, sha256: wanted }) =
            self.files.get(number).cloned()
        else {
            return Err(garbled("a file is twice in the archive"));
        };
        let mut sink = match self.wanted(number).map(|(fetch, _)| &fetch.into) {
            _ if size_bytes != wanted_bytes => Sink::Nowhere(corrupted(&path)),
            Some(Destination::Folder(folder)) => Sink::open(folder.clone(), path.clone()).await,
            Some(Destination::Memory) | None => Sink::Memory(Vec::new()),
        };
        let mut digest = Sha256::new();
        let mut left_bytes = size_bytes;
        while left_bytes > 0 {
            let most = usize::try_from(left_bytes).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let chunk = read_chunk(self.stream, most).await?;
            left_bytes -= chunk.len() as u64;
            digest.update(&chunk);
            sink = sink.take(chunk).await;
        }
        read_chunk(self.stream, archive::padding(size_bytes)).await?;
        let sha256 = paths::hex(digest.finalize());
        if sha256 != wanted {
            return Ok(FileState::Failed(corrupted(&path)));
        }
        Ok(match sink.finish().await {
            Ok(content) => FileState::Known(Fetched::File { path, size_bytes, sha256, content }),
            Err(error) => FileState::Failed(error),
        })
    }

    fn finish(mut self) -> Result<Vec<Answer>, LaneFailure> {
        let mut fetched: HashMap<usize, Vec<FileState>> = HashMap::new();
        for (wanted, state) in self.request.files.iter().zip(std::mem::take(&mut self.files)) {
            fetched.entry(wanted.operation).or_default().push(state);
        }
        let mut answers = Vec::with_capacity(self.answers.len());
        for (number, (operation, answer)) in self.request.operations.iter().zip(self.answers).enumerate() {
            answers.push(match (answer, operation) {
                (Some(answer), _) => answer,
                (None, Operation::Fetch(_)) => gather(fetched.remove(&number).unwrap_or_default())?,
                (None, _) => return Err(garbled(&format!("operation {number} has no answer"))),
            });
        }
        Ok(answers)
    }
}

/// One answer from those of all files: a failure, if there is one.
fn gather(states: Vec<FileState>) -> Result<Answer, LaneFailure> {
    let mut files = Vec::with_capacity(states.len());
    for state in states {
        match state {
            FileState::Known(file) => files.push(file),
            FileState::Failed(error) => return Ok(Answer::Failed(error)),
            FileState::Expected { .. } => return Ok(Answer::Failed(corrupted("a file"))),
            FileState::Unknown => return Err(garbled("a file has no answer")),
        }
    }
    Ok(Answer::Fetched(files))
}

/// What a put failed of whose files are not what was sent: of the disk, as `tar` says, or else of the way.
fn spoiled(words: &str) -> OperationError {
    let of_the_host = words.lines().find(|line| kind_of_message(line) != OperationErrorKind::Other);
    of_the_host.map_or_else(
        || OperationError {
            kind: OperationErrorKind::Corrupted,
            message: format!(
                "what arrived is not what was sent: {}",
                words.lines().next().unwrap_or("hashes differ")
            ),
        },
        OperationError::told,
    )
}

fn corrupted(path: &str) -> OperationError {
    let message = format!("{path} changed while it was read");
    OperationError { kind: OperationErrorKind::Corrupted, message }
}

/// The names of a listing, each "./NAME" and a NUL.
fn names(bytes: &[u8]) -> Vec<String> {
    bytes
        .split(|byte| *byte == 0)
        .filter_map(|name| name.strip_prefix(b"./"))
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}

async fn read_chunk(stream: &mut (impl AsyncRead + Unpin), size: usize) -> io::Result<Vec<u8>> {
    let mut chunk = vec![0; size];
    stream.read_exact(&mut chunk).await?;
    Ok(chunk)
}

/// Where the content of a file goes while it arrives.
enum Sink {
    Memory(Vec<u8>),
    Folder(Landing),
    /// The rest is only read away.
    Nowhere(OperationError),
}

impl Sink {
    async fn open(folder: std::path::PathBuf, path: String) -> Self {
        match blocking(move || Landing::open(&folder, &path)).await {
            Ok(landing) => Self::Folder(landing),
            Err(error) => Self::Nowhere(error),
        }
    }

    async fn take(self, chunk: Vec<u8>) -> Self {
        match self {
            Self::Memory(mut content) => {
                content.extend_from_slice(&chunk);
                Self::Memory(content)
            }
            Self::Folder(mut landing) => {
                let written = blocking(move || landing.write(&chunk).map(|()| landing)).await;
                written.map_or_else(Self::Nowhere, Self::Folder)
            }
            nowhere @ Self::Nowhere(_) => nowhere,
        }
    }

    async fn finish(self) -> Result<Vec<u8>, OperationError> {
        match self {
            Self::Memory(content) => Ok(content),
            Self::Folder(landing) => blocking(move || landing.finish()).await.map(|()| Vec::new()),
            Self::Nowhere(error) => Err(error),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OperationError> + Send + 'static,
) -> Result<T, OperationError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(OperationError { kind: OperationErrorKind::Other, message: error.to_string() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::ssh::request::build;

    async fn read_text(batch: Vec<Operation>, text: &str) -> Result<Vec<Answer>, LaneFailure> {
        let request = build(batch, "/tmp/s");
        read(&mut text.as_bytes(), "tok", &request).await
    }

    fn list() -> Operation {
        Operation::List { directory: "/w".into() }
    }

    #[tokio::test]
    async fn answers_are_matched_by_their_numbers() {
        let text = "tok 1 names 8\n./a\0./b\0tok 0 unlisted 27\nls: No such file or directory\ntok end\n";
        let answers = read_text(vec![list(), list()], text).await;
        assert!(matches!(answers, Err(LaneFailure::Garbled(_))), "the length is wrong: {answers:?}");
        let text = "tok 1 names 8\n./a\0./b\0tok 0 unlisted 30\nls: No such file or directory\n\ntok end\n";
        let answers = read_text(vec![list(), list()], text).await.unwrap();
        assert_eq!(answers, [Answer::Names(vec![]), Answer::Names(vec!["a".into(), "b".into()])]);
    }

    #[tokio::test]
    async fn what_is_cut_is_lost_and_what_is_odd_is_garbled() {
        let lost =
            ["", "tok 0 na", "tok 0 names 8\n./a", "tok 0 names 4\n./a\0", "tok 0 names 4\n./a\0tok end"];
        for text in lost {
            assert!(matches!(read_text(vec![list()], text).await, Err(LaneFailure::Lost(_))), "{text:?}");
        }
        let long = "x".repeat(10_000);
        let odd = [
            "hello\n",
            "tok end\n",
            "tok 7 done\ntok end\n",
            "tok 0 done\ntok 0 done\ntok end\n",
            "tok 0 names 99999999999\n",
            "tok 0 names -1\n",
            "tok 0 what\n",
            "tok 0 full\n",
            "tok 0 archive\n",
            long.as_str(),
        ];
        for text in odd {
            let answer = read_text(vec![list()], text).await;
            let is_archive = text.contains("archive");
            assert!(is_archive || matches!(answer, Err(LaneFailure::Garbled(_))), "{text:?}: {answer:?}");
            assert!(answer.is_err());
        }
    }

    #[test]
    fn a_spoiled_put_is_the_disks_trouble_if_the_host_says_so() {
        let full = "tar: ./w/a: Cannot write: No space left on device\ntar: Exiting with failure status";
        assert_eq!(spoiled(full).kind, OperationErrorKind::Storage);
        assert_eq!(spoiled("").kind, OperationErrorKind::Corrupted);
        assert_eq!(spoiled("tar: Skipping to next header").kind, OperationErrorKind::Corrupted);
    }
}
