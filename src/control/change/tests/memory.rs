//! A disk in memory that fills up, fails, and loses power.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use super::super::store::Store;

type Files = BTreeMap<String, Vec<u8>>;

/// Clones share it.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    now: Files,
    /// What a power cut leaves at least.
    durable: Files,
    /// The states that names went through since the last sync.
    between: Vec<Files>,
    /// From this many calls on, the power is gone.
    cut_in: Option<u32>,
    /// This call from now fails.
    fail_in: Option<u32>,
    full: bool,
    dead: bool,
}

impl Memory {
    pub fn cut_in(&self, calls: u32) {
        self.0.lock().unwrap().cut_in = Some(calls);
    }

    pub fn fail_in(&self, calls: u32) {
        self.0.lock().unwrap().fail_in = Some(calls);
    }

    pub fn set_full(&self, full: bool) {
        self.0.lock().unwrap().full = full;
    }

    pub fn is_dead(&self) -> bool {
        self.0.lock().unwrap().dead
    }

    /// Power is back: of what was not synced, `kept` of the steps are there.
    pub fn power_up(&self, kept: usize) {
        let mut inner = self.0.lock().unwrap();
        let steps = inner.between.len();
        if steps > 0 {
            let kept = kept % (steps + 1);
            inner.now =
                if kept == 0 { inner.durable.clone() } else { inner.between[kept - 1].clone() };
        }
        inner.durable = inner.now.clone();
        inner.between.clear();
        (inner.dead, inner.cut_in, inner.fail_in) = (false, None, None);
    }

    pub fn file(&self, name: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap().now.get(name).cloned()
    }

    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut inner = self.0.lock().unwrap();
        inner.now.insert(name.into(), bytes.clone());
        inner.durable.insert(name.into(), bytes);
    }
}

fn count(left: &mut Option<u32>) -> bool {
    let Some(n) = left else { return false };
    if *n == 0 {
        *left = None;
        return true;
    }
    *n -= 1;
    false
}

impl Inner {
    /// Does a call: `whole`, or at a power cut or error `half` of it.
    fn call(
        &mut self,
        grows: bool,
        half: impl FnOnce(&mut Files),
        whole: impl FnOnce(&mut Files),
    ) -> io::Result<()> {
        if self.dead {
            return Err(io::Error::other("no power"));
        }
        let cut = count(&mut self.cut_in);
        let fails = count(&mut self.fail_in);
        self.dead = cut;
        if cut || fails || grows && self.full {
            half(&mut self.now);
            self.between.push(self.now.clone());
            return Err(if self.full {
                io::ErrorKind::StorageFull.into()
            } else {
                io::Error::other("torn")
            });
        }
        whole(&mut self.now);
        self.between.push(self.now.clone());
        Ok(())
    }

    fn synced(&mut self) {
        self.durable = self.now.clone();
        self.between.clear();
    }
}

impl Store for Memory {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.file(name))
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let put = |bytes: &[u8]| {
            let (name, bytes) = (name.to_owned(), bytes.to_vec());
            move |files: &mut Files| {
                files.insert(name, bytes);
            }
        };
        self.0.lock().unwrap().call(true, put(&bytes[..bytes.len() / 2]), put(bytes))
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        if !inner.now.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        inner.call(
            false,
            |_| {},
            |files| {
                let bytes = files.remove(from).unwrap();
                files.insert(to.into(), bytes);
            },
        )
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.0.lock().unwrap().call(
            false,
            |_| {},
            |files| {
                files.remove(name);
            },
        )
    }

    fn append(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        let put = |bytes: &[u8]| {
            let (name, bytes) = (name.to_owned(), bytes.to_vec());
            move |files: &mut Files| {
                let file = files.entry(name).or_default();
                file.resize(at as usize, 0);
                file.extend_from_slice(&bytes);
            }
        };
        let mut inner = self.0.lock().unwrap();
        inner.call(true, put(&bytes[..bytes.len() / 2]), put(bytes))?;
        if at == 0 {
            inner.synced();
            return Ok(());
        }
        // The line is durable; what names went through before is not.
        let Inner { durable, between, .. } = &mut *inner;
        between.pop();
        for files in between.iter_mut().chain([durable]).filter(|f| f.contains_key(name)) {
            put(bytes)(files);
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.call(false, |_| {}, |_| {})?;
        inner.synced();
        Ok(())
    }
}
