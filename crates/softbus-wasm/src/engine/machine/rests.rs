//! Functions that go on with frames: made for a program when it first needs them, at the sites where it asks and at those
//! where it was stopped.

use std::collections::BTreeSet;

use wasmtime::{AsContextMut, Caller, Extern, Instance, Module, StoreContextMut};

use super::super::fiber::Left;
use super::super::host::Host;
use crate::WasmError;
use crate::pass::{PREFIX, UNSAVED};

/// What a program has of them, and what they are linked to.
pub(in super::super) struct Rests {
    instance: Instance,
    poll: Extern,
    ask: Extern,
    /// Sites that have theirs in the table.
    linked: BTreeSet<u32>,
}

impl Rests {
    pub fn new(instance: Instance, poll: Extern, ask: Extern) -> Self {
        Self { instance, poll, ask, linked: BTreeSet::new() }
    }
}

/// Whether this site has its own already.
pub(super) fn has(host: &Host, site: u32) -> bool {
    host.rests.as_ref().is_some_and(|rests| rests.linked.contains(&site))
}

/// Sees to it that there is one for this site, if a frame is saved there, from within a call of the program's.
pub(in super::super) async fn provide(caller: &mut Caller<'_, Host>, site: u32) -> Result<(), WasmError> {
    if site == UNSAVED || has(caller.data(), site) {
        return Ok(());
    }
    let shared = caller.data().shared.clone();
    // Compiling may take more stack than the program has left here.
    shared.leave(Left::Rest(site)).await;
    let made = shared.lock().rest.take();
    let module = made.unwrap_or(Err(WasmError::Shape("nothing was made that goes on where it asked")))?;
    link(caller.as_context_mut(), &[site], &module).await
}

/// Makes the program have those of a module, which are for these sites.
pub(super) async fn link(
    mut store: StoreContextMut<'_, Host>,
    sites: &[u32],
    module: &Module,
) -> Result<(), WasmError> {
    const LACKS: WasmError = WasmError::Shape("a part of it is missing");
    let rests = store.data().rests.as_ref().ok_or(LACKS)?;
    let (instance, poll, ask) = (rests.instance, rests.poll.clone(), rests.ask.clone());
    let mut imports: Vec<Extern> = Vec::new();
    for import in module.imports() {
        imports.push(match import.name() {
            "poll" => poll.clone(),
            "ask" => ask.clone(),
            own => instance.get_export(&mut store, &format!("{PREFIX}{own}")).ok_or(LACKS)?,
        });
    }
    // It puts them into the table itself.
    Instance::new_async(&mut store, module, &imports).await.map_err(WasmError::engine)?;
    store.data().shared.lock().linked += 1;
    if let Some(rests) = &mut store.data_mut().rests {
        rests.linked.extend(sites);
    }
    Ok(())
}
