//! A file of records, one after the other.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{HEAD, Head, Record};

/// A file that is complete, or the one that is written to.
#[derive(Debug)]
pub struct Segment {
    /// The number of its first record, in its name.
    pub first: u64,
    /// Its length, bytes.
    pub bytes: u64,
    path: PathBuf,
}

impl Segment {
    /// The segments of a directory, oldest first.
    pub fn all(dir: &Path) -> io::Result<Vec<Self>> {
        let mut all = Vec::new();
        for entry in dir.read_dir()? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".seg"));
            let Some(first) = number.and_then(|number| number.parse().ok()) else { continue };
            all.push(Self { first, bytes: entry.metadata()?.len(), path: entry.path() });
        }
        all.sort_by_key(|segment| segment.first);
        Ok(all)
    }

    /// A new and empty one; durable as such.
    pub fn create(dir: &Path, first: u64) -> io::Result<(Self, Arc<File>)> {
        let path = dir.join(format!("{first:020}.seg"));
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        file.set_len(0)?;
        File::open(dir)?.sync_all()?;
        Ok((Self { first, bytes: 0, path }, Arc::new(file)))
    }

    /// Opens the last one to go on writing. What a power cut tore is cut off:
    /// also gives the number after the last whole record, and the bytes lost.
    pub fn reopen(&mut self) -> io::Result<(Arc<File>, u64, u64)> {
        let (mut next, mut whole) = (self.first, 0);
        let mut reader = self.read(0)?;
        while let Step::Head(head) = reader.step()? {
            if reader.record(&head)?.is_none() {
                break;
            }
            (next, whole) = (head.seq + 1, reader.at);
        }
        let file = OpenOptions::new().append(true).open(&self.path)?;
        let torn = self.bytes - whole;
        if torn > 0 {
            file.set_len(whole)?;
            file.sync_data()?;
            self.bytes = whole;
        }
        Ok((Arc::new(file), next, torn))
    }

    /// Appends all of `bytes`, or nothing.
    pub fn append(&mut self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        if file.metadata()?.len() != self.bytes {
            // Part of what failed before.
            file.set_len(self.bytes)?;
        }
        if let Err(error) = file.write_all(bytes) {
            // Where this fails too, it is done before the next.
            let _ = file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Reads from `at` to what is written now.
    pub fn read(&self, at: u64) -> io::Result<Reader> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(at))?;
        Ok(Reader { file: BufReader::with_capacity(64 << 10, file), at, end: self.bytes })
    }

    /// Deletes the file.
    pub fn delete(self) -> io::Result<()> {
        std::fs::remove_file(self.path)
    }
}

/// Reads a segment from front to back.
pub struct Reader {
    file: BufReader<File>,
    /// Where the next record begins, bytes.
    pub at: u64,
    end: u64,
}

/// What comes next.
pub enum Step {
    /// A record: read it or skip it.
    Head(Located),
    /// Nothing.
    End,
    /// Something that is no record; nothing behind it can be found.
    Damaged,
}

/// A head with its own bytes.
pub struct Located {
    /// Its number.
    pub seq: u64,
    /// Samples in it.
    pub samples: u32,
    head: Head,
    bytes: [u8; HEAD],
}

impl Reader {
    /// The next record's head.
    pub fn step(&mut self) -> io::Result<Step> {
        if self.at >= self.end {
            return Ok(Step::End);
        }
        let mut bytes = [0; HEAD];
        if self.end - self.at < HEAD as u64 {
            return Ok(Step::Damaged);
        }
        self.file.read_exact(&mut bytes)?;
        Ok(match Head::parse(&bytes) {
            Some(head) if (HEAD + head.rest) as u64 <= self.end - self.at => {
                Step::Head(Located { seq: head.seq, samples: head.samples, head, bytes })
            }
            _ => Step::Damaged,
        })
    }

    /// Passes over the record.
    pub fn skip(&mut self, of: &Located) -> io::Result<()> {
        self.at += (HEAD + of.head.rest) as u64;
        self.file.seek_relative(of.head.rest as i64)
    }

    /// The record; `None` where it is damaged.
    pub fn record(&mut self, of: &Located) -> io::Result<Option<Record>> {
        let mut rest = vec![0; of.head.rest];
        self.file.read_exact(&mut rest)?;
        self.at += (HEAD + of.head.rest) as u64;
        let whole = of.head.fits(&of.bytes, &rest);
        Ok(if whole { of.head.record(&rest) } else { None })
    }
}
