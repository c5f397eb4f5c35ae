//! The programs that tasks of a scenario may be: those of `examples/guests` that neither wait nor look at a clock.

/// A program with its arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guest {
    /// Which.
    pub program: Guests,
    /// Its arguments.
    pub args: Vec<String>,
}

/// The programs there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guests {
    /// Adds to a table of numbers, of any size.
    Tally,
    /// Draws the Mandelbrot set.
    Render,
}

impl Guests {
    /// All, by their names.
    pub const ALL: [(&str, Self); 2] = [("tally", Self::Tally), ("render", Self::Render)];

    /// Its name in a scenario.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tally => "tally",
            Self::Render => "render",
        }
    }

    /// Its module.
    pub fn module(self) -> &'static [u8] {
        match self {
            Self::Tally => include_bytes!("../../../../examples/guests/built/tally.wasm"),
            Self::Render => include_bytes!("../../../../examples/guests/built/render.wasm"),
        }
    }
}
