//! Tar archives as streams: entries written one after the other, and read as they arrive. The format is GNU's.

use std::io;

use tar::{EntryType, Header};
use tokio::io::{AsyncRead, AsyncReadExt as _};

const BLOCK_BYTES: usize = 512;

/// What an archive ends with (two empty blocks).
pub(super) const END: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];

/// The name of an entry that carries the next entry's name, where it is longer than a header takes.
const LONG_NAME: &[u8] = b"././@LongLink";

/// Longer than any path a kernel takes (`PATH_MAX` of Linux is 4096).
const NAME_LIMIT_BYTES: u64 = 64 * 1024;

/// Returns the blocks that stand before the content of a regular file. `path` is absolute on the host, where the archive
/// is unpacked in the root directory.
pub(super) fn header(path: &str, size_bytes: u64, mode: u32) -> Vec<u8> {
    // The dot keeps a name that begins with a dash from being an option, and the whole relative.
    let name = format!(".{path}").into_bytes();
    let mut blocks = Vec::new();
    if name.len() > 100 {
        let mut long = name.clone();
        long.push(0);
        blocks.extend_from_slice(block(LONG_NAME, long.len() as u64, 0, EntryType::GNULongName).as_bytes());
        let fill_bytes = padding(long.len() as u64);
        blocks.append(&mut long);
        blocks.resize(blocks.len() + fill_bytes, 0);
    }
    blocks.extend_from_slice(block(&name, size_bytes, mode, EntryType::Regular).as_bytes());
    blocks
}

fn block(name: &[u8], size_bytes: u64, mode: u32, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    for (field, byte) in header.as_old_mut().name.iter_mut().zip(name) {
        *field = *byte;
    }
    header.set_entry_type(kind);
    header.set_size(size_bytes);
    header.set_mode(mode & 0o777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    header
}

/// Returns how many bytes follow a content of this size up to the next block.
pub(super) fn padding(size_bytes: u64) -> usize {
    let over = size_bytes % BLOCK_BYTES as u64;
    usize::try_from((BLOCK_BYTES as u64 - over) % BLOCK_BYTES as u64).unwrap_or_default()
}

/// A file in an archive that is being read; its content and [`padding`] come next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Absolute on the host, as given to [`header`].
    pub(super) path: Vec<u8>,
    pub(super) size_bytes: u64,
}

/// Reads up to the content of the next regular file; nothing after the last one.
pub(super) async fn next_entry(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Entry>> {
    let mut long_name = None;
    loop {
        let header = read_header(stream).await?;
        let Some(header) = header else { return Ok(None) };
        let size_bytes = header.entry_size()?;
        match header.entry_type() {
            EntryType::GNULongName if size_bytes <= NAME_LIMIT_BYTES => {
                long_name = Some(read_name(stream, size_bytes).await?);
            }
            EntryType::Regular | EntryType::Continuous => {
                let mut path = long_name.unwrap_or_else(|| header.path_bytes().into_owned());
                if path.first() == Some(&b'.') {
                    path.remove(0);
                }
                return Ok(Some(Entry { path, size_bytes }));
            }
            other => return Err(broken(&format!("there is an entry of type {other:?} in the archive"))),
        }
    }
}

async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Header>> {
    let mut header = Header::new_old();
    stream.read_exact(header.as_mut_bytes()).await?;
    if header.as_bytes().iter().all(|byte| *byte == 0) {
        let mut second = [0; BLOCK_BYTES];
        stream.read_exact(&mut second).await?;
        return Ok(None);
    }
    let sum: u32 = header.as_bytes().iter().map(|byte| u32::from(*byte)).sum();
    let field: u32 = header.as_old().cksum.iter().map(|byte| u32::from(*byte)).sum();
    // The sum is made with its own field full of blanks.
    if header.cksum()? != sum - field + 8 * u32::from(b' ') {
        return Err(broken("there is no archive where one should be"));
    }
    Ok(Some(header))
}

async fn read_name(stream: &mut (impl AsyncRead + Unpin), size_bytes: u64) -> io::Result<Vec<u8>> {
    let size = usize::try_from(size_bytes).map_err(io::Error::other)?;
    let mut name = vec![0; size + padding(size_bytes)];
    stream.read_exact(&mut name).await?;
    name.truncate(size);
    if name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn broken(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (path, content) in files {
            bytes.extend(header(path, content.len() as u64, 0o600));
            bytes.extend(content);
            bytes.resize(bytes.len() + padding(content.len() as u64), 0);
        }
        bytes.extend(END);
        bytes
    }

    async fn read_all(mut stream: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        while let Some(entry) = next_entry(&mut stream).await.unwrap() {
            let size = usize::try_from(entry.size_bytes).unwrap();
            let mut content = vec![0; size + padding(entry.size_bytes)];
            stream.read_exact(&mut content).await.unwrap();
            content.truncate(size);
            files.push((String::from_utf8(entry.path).unwrap(), content));
        }
        assert_eq!(stream.len(), 0);
        files
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_written_is_read(
            files in prop::collection::vec(("/[^\0]{1,300}", prop::collection::vec(any::<u8>(), 0..1500)), 0..5)
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let bytes = archive(&files);
            prop_assert_eq!(runtime.block_on(read_all(&bytes)), files.clone());
            // The tar crate reads the same.
            let mut peer = tar::Archive::new(bytes.as_slice());
            for (entry, (path, content)) in peer.entries().unwrap().zip(&files) {
                let entry = entry.unwrap();
                let expected = format!(".{path}");
                prop_assert_eq!(entry.path_bytes().into_owned(), expected.into_bytes());
                prop_assert_eq!(entry.size(), content.len() as u64);
            }
        }
    }

    #[test]
    fn sizes_above_8_gib_fit() {
        let blocks = header("/f", 9 << 30, 0o600);
        assert_eq!(Header::from_byte_slice(&blocks).entry_size().unwrap(), 9 << 30);
    }

    #[tokio::test]
    async fn what_is_no_archive_is_an_error() {
        let text = [b'x'; 2048];
        assert!(next_entry(&mut text.as_slice()).await.is_err());
        assert!(next_entry(&mut &text[..100]).await.is_err());
    }
}
