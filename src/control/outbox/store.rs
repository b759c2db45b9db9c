//! The segments of a directory: written at the end, read from anywhere, given
//! up at the front.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use super::record::{self, Entry, Record};
use super::segment::{Reader, Segment, Step};
use super::spans::Spans;

/// Records kept in memory while the disk takes none: the broker may be there.
const UNSTORED: usize = 64;

/// All segments.
pub struct Store {
    dir: PathBuf,
    /// Oldest first, never empty; the last is written to.
    segments: VecDeque<Segment>,
    /// The file that is written to.
    pub file: Arc<File>,
    /// The number of the next record.
    pub next: u64,
    /// Bytes on disk at most, and in a segment.
    most: u64,
    segment_most: u64,
    /// What the disk did not take, in order.
    unstored: VecDeque<Record>,
}

/// What was given up before a broker acknowledged it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Records.
    pub records: u64,
    /// Samples in them.
    pub samples: u64,
}

impl Lost {
    fn add(&mut self, samples: u32) {
        self.records += 1;
        self.samples += u64::from(samples);
    }
}

/// What an append did.
#[derive(Debug, Default)]
pub struct Appended {
    /// Given up at the front: over the limit.
    pub oldest: Lost,
    /// Given up at the end: the disk does not take them.
    pub newest: Lost,
    /// Why the disk does not take them.
    pub error: Option<io::Error>,
}

/// Where a reader is.
#[derive(Debug, Clone, Default)]
pub struct Cursor {
    /// The next record wanted.
    pub seq: u64,
    /// Where it begins: segment and offset, if known.
    at: Option<(u64, u64)>,
}

impl Cursor {
    /// From this record on.
    pub fn at(seq: u64) -> Self {
        Self { seq, at: None }
    }
}

impl Store {
    /// Opens a directory, or makes it. A new one begins with record `first`.
    /// Also gives the bytes that a power cut tore off.
    pub fn open(dir: &Path, most: u64, first: u64) -> io::Result<(Self, u64)> {
        std::fs::create_dir_all(dir)?;
        let mut segments = VecDeque::from(Segment::all(dir)?);
        let (file, next, torn) = match segments.back_mut() {
            Some(last) => last.reopen()?,
            None => {
                let (segment, file) = Segment::create(dir, first)?;
                segments.push_back(segment);
                (file, first, 0)
            }
        };
        let segment_most = (most / 16).clamp(64 << 10, 4 << 20);
        let (dir, unstored) = (dir.to_owned(), VecDeque::new());
        Ok((Self { dir, segments, file, next, most, segment_most, unstored }, torn))
    }

    /// The number of the oldest record.
    pub fn first(&self) -> u64 {
        self.segments.front().map_or(self.next, |s| s.first)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }

    /// Appends to the file; nothing is durable yet.
    pub fn append(&mut self, entries: Vec<Entry>, spans: &mut Spans) -> Appended {
        let mut done = Appended::default();
        let (mut bytes, mut records) = (Vec::new(), Vec::new());
        for entry in entries {
            let mut one = Vec::new();
            record::write(self.next, &entry, &mut one);
            let used = self.last().bytes + bytes.len() as u64;
            if used > 0 && used + one.len() as u64 > self.segment_most {
                self.put(&mut bytes, &mut records, &mut done, spans);
                self.roll(&mut done);
            }
            self.make_room((bytes.len() + one.len()) as u64, spans, &mut done);
            bytes.extend(one);
            records.push(Record { seq: self.next, entry });
            self.next += 1;
        }
        self.put(&mut bytes, &mut records, &mut done, spans);
        done
    }

    fn last(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("one is written to")
    }

    /// Writes what is encoded; where the disk does not take it, memory does,
    /// and the newest that did not fit before goes.
    fn put(
        &mut self,
        bytes: &mut Vec<u8>,
        records: &mut Vec<Record>,
        done: &mut Appended,
        spans: &Spans,
    ) {
        if bytes.is_empty() {
            return;
        }
        let file = self.file.clone();
        if let Err(error) = self.last().append(&file, bytes) {
            done.error = Some(error);
            self.unstored.extend(records.drain(..));
            while self.unstored.len() > UNSTORED
                && let Some(Record { seq, entry }) = self.unstored.pop_front()
            {
                if spans.touches(&(seq..seq + 1)) {
                    done.newest.add(entry.samples);
                }
            }
        }
        bytes.clear();
        records.clear();
    }

    /// Goes on in a new segment. Where that fails, the old one grows.
    fn roll(&mut self, done: &mut Appended) {
        // The last segment alone may be torn after a power cut.
        let rolled = self.file.sync_data().and_then(|()| Segment::create(&self.dir, self.next));
        match rolled {
            Ok((segment, file)) => {
                self.segments.push_back(segment);
                self.file = file;
            }
            Err(error) => done.error = Some(error),
        }
    }

    /// Gives up whole segments, oldest first, until `more` bytes fit.
    fn make_room(&mut self, more: u64, spans: &mut Spans, done: &mut Appended) {
        while self.segments.len() > 1 && self.bytes() + more > self.most {
            let lost = self.count(0, spans);
            done.oldest.records += lost.records;
            done.oldest.samples += lost.samples;
            spans.acknowledge(0..self.segments[1].first);
            if !self.give_up_oldest() {
                return;
            }
        }
    }

    /// What of a segment is unacknowledged.
    fn count(&self, i: usize, spans: &Spans) -> Lost {
        let mut lost = Lost::default();
        let mut walk = || -> io::Result<()> {
            let mut reader = self.segments[i].read(0)?;
            while let Step::Head(head) = reader.step()? {
                if spans.touches(&(head.seq..head.seq + 1)) {
                    lost.add(head.samples);
                }
                reader.skip(&head)?;
            }
            Ok(())
        };
        // What cannot be read cannot be counted.
        let _ = walk();
        lost
    }

    fn give_up_oldest(&mut self) -> bool {
        let Some(oldest) = self.segments.pop_front() else { return false };
        match oldest.delete() {
            Ok(()) => true,
            Err(error) => {
                warn!("outbox: a segment cannot be deleted: {error}");
                false
            }
        }
    }

    /// Deletes the segments of which everything is acknowledged, but the last:
    /// its name and content say which number is next.
    pub fn tidy(&mut self, spans: &Spans) {
        while self.segments.len() > 1 && !spans.touches(&(0..self.segments[1].first)) {
            if !self.give_up_oldest() {
                return;
            }
        }
        self.unstored.retain(|r| spans.touches(&(r.seq..r.seq + 1)));
    }

    /// Unacknowledged records from the cursor on, before `until`, of at least
    /// `enough` bytes if there are; the cursor moves behind them. Damage is
    /// passed over: the second figure is the number of damaged places.
    pub fn read(
        &self,
        cursor: &mut Cursor,
        until: u64,
        spans: &Spans,
        enough: usize,
    ) -> (Vec<Record>, u64) {
        let (mut records, mut bytes, mut damaged) = (Vec::new(), 0, 0);
        let mut open = None;
        while bytes < enough {
            let wanted = spans.at_or_after(cursor.seq).filter(|seq| *seq < until);
            cursor.seq = wanted.unwrap_or(until);
            if wanted.is_none() {
                break;
            }
            let found = match self.unstored.iter().find(|r| r.seq >= cursor.seq) {
                Some(r) if r.seq == cursor.seq => Some(r.clone()),
                unstored => {
                    let limit = unstored.map_or(until, |r| r.seq.min(until));
                    self.find(cursor, limit, &mut open, &mut damaged)
                }
            };
            if let Some(record) = found {
                bytes += record.entry.body.len();
                cursor.seq += 1;
                records.push(record);
            }
        }
        (records, damaged)
    }

    /// The record at the cursor from its segment; where there is none, moves
    /// the cursor to the next that may be there.
    fn find(
        &self,
        cursor: &mut Cursor,
        limit: u64,
        open: &mut Option<(u64, Reader)>,
        damaged: &mut u64,
    ) -> Option<Record> {
        let after = self.segments.partition_point(|s| s.first <= cursor.seq);
        let later = self.segments.get(after).map_or(limit, |s| s.first.min(limit));
        let Some(segment) = after.checked_sub(1).map(|i| &self.segments[i]) else {
            cursor.seq = later;
            return None;
        };
        let reader = match open {
            Some((first, reader)) if *first == segment.first => reader,
            _ => {
                let offset = cursor.at.filter(|(first, _)| *first == segment.first);
                let Ok(reader) = segment.read(offset.map_or(0, |(_, offset)| offset)) else {
                    *damaged += 1;
                    cursor.seq = later;
                    return None;
                };
                &mut open.insert((segment.first, reader)).1
            }
        };
        loop {
            let before = reader.at;
            match reader.step() {
                Ok(Step::Head(head)) if head.seq < cursor.seq => {
                    if reader.skip(&head).is_err() {
                        break;
                    }
                }
                Ok(Step::Head(head)) if head.seq == cursor.seq => {
                    let record = reader.record(&head).ok().flatten();
                    cursor.at = Some((segment.first, reader.at));
                    if record.is_none() {
                        *damaged += 1;
                        cursor.seq += 1;
                    }
                    return record;
                }
                Ok(Step::Head(head)) => {
                    // Not here: the disk did not take it. Its head is read again.
                    cursor.at = Some((segment.first, before));
                    *open = None;
                    cursor.seq = head.seq.min(limit);
                    return None;
                }
                Ok(Step::End) => {
                    cursor.seq = later;
                    return None;
                }
                Ok(Step::Damaged) | Err(_) => break,
            }
        }
        *damaged += 1;
        *open = None;
        cursor.seq = later;
        None
    }
}
