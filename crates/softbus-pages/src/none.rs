//! Where there is nothing of the kind.

use std::io;
use std::ops::Range;

#[derive(Debug)]
pub enum Kernel {}

impl Kernel {
    pub fn new() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn page(&self) -> usize {
        match *self {}
    }

    pub fn register(&self, _: Range<usize>) -> io::Result<()> {
        match *self {}
    }

    pub fn unregister(&self, _: Range<usize>) {
        match *self {}
    }

    pub fn scan(&self, _: Range<usize>, _: &mut dyn FnMut(Range<usize>)) -> io::Result<()> {
        match *self {}
    }
}
