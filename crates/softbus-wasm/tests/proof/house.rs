//! What the programs run in: both engines, a clock that is moved by hand, and a mesh that answers at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use softbus_wasm::bus::{Failed, Question, Request, Server, Services, Target};
use softbus_wasm::{EngineKind, Turns, WasmError, WasmRuntime};

use super::hand::Hand;

/// Its one service says what it is told.
struct Mesh;

struct Answer(Result<Vec<u8>, Failed>);

impl Services for Mesh {
    fn begin(&self, question: Question) -> Option<Box<dyn Request>> {
        Some(Box::new(Answer(match question.target {
            Target::Service(_) => Ok([b"echo: ", &*question.bytes].concat()),
            Target::Inference => Ok(b"hello yourself".to_vec()),
        })))
    }
}

impl Request for Answer {
    fn server(&self) -> Option<Server> {
        Some([7; 32])
    }

    fn poll(&mut self) -> Option<Result<Vec<u8>, Failed>> {
        Some(self.0.clone())
    }
}

/// Both engines, and their clock.
pub struct House {
    hand: Arc<Hand>,
    /// Cranelift, then Pulley.
    pub engines: [WasmRuntime; 2],
}

impl House {
    /// # Errors
    /// One of the engines does not run here.
    pub fn new() -> Result<Self, WasmError> {
        let hand = Arc::<Hand>::default();
        let engine = |kind| {
            WasmRuntime::new(kind, hand.clone(), Turns::Counted)
                .map(|engine| engine.with_services(Arc::new(Mesh)))
        };
        Ok(Self { engines: [engine(EngineKind::Cranelift)?, engine(EngineKind::Pulley)?], hand })
    }

    /// Puts the clock back, for another run.
    pub fn rewind(&self) {
        self.hand.0.store(0, Ordering::Relaxed);
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.hand.0.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }
}
