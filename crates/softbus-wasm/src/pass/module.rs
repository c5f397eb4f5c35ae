//! Takes a module apart, and writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use wasm_encoder::reencode::Reencode;
use wasm_encoder::{
    BranchHint, BranchHints, CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection,
    EntityType, ExportKind, ExportSection, FunctionSection, GlobalSection, GlobalType, ImportSection,
    MemorySection, MemoryType, Module, RefType, TableSection, TableType, TagKind, TagSection, TagType,
    TypeSection, ValType as Val,
};
use wasmparser::{
    BinaryReader, CompositeInnerType, ExternalKind, FuncToValidate, FuncValidatorAllocations, FunctionBody,
    KnownCustom, Name, Operator, Parser, Payload, TypeRef, ValType, ValidPayload, Validator,
    ValidatorResources, WasmFeatures,
};

use super::Refusal;
use super::body::{Body, Budget};
use super::emit::{Code, Emit, NOTES, Own};
use super::frame::Frames;
use super::indices::{Base, Helper, Program, Types};
use super::own;
use super::reach::Reach;

/// Names that begin with this are the pass's.
pub const PREFIX: &str = "softbus:";
/// Of a function as it is written anew, and of all of them. What goes on with a frame is a few times larger than its
/// function, and engines take no function above 7 MiB.
const FUNCTION_BYTES: usize = 2 << 20;
const CODE_BYTES: usize = 128 << 20;
/// Data and element segments that a module may have: the notes on them have room in one page.
const SEGMENTS: u32 = 32_768;
/// Places at which a program may be stopped: each has one in a table.
const SITES: usize = 1 << 20;
/// Most pages of the memory for frames.
pub(super) const SIDE_PAGES: u64 = 1 << 11;

/// Whether the host writes the word that says that it wants to be asked while the program runs, from another thread. What
/// is saved of the program does not depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AskMemory {
    /// It does.
    Shared,
    /// It does so only in calls of the program to the host.
    Plain,
}

/// A module that can be stopped, and what must be known of it to go on.
pub struct Rewritten {
    /// The module.
    pub module: Vec<u8>,
    /// Its start function, which the host is to call first.
    pub start: Option<u32>,
    /// Where frames can be saved: the function, the number within it, and the size of the frame.
    pub sites: Vec<(u32, usize, u32)>,
    pub(super) program: Arc<Program>,
    pub(super) memories: Vec<wasmparser::MemoryType>,
    pub(super) tables: Vec<wasmparser::TableType>,
    pub(super) globals: Vec<wasmparser::GlobalType>,
    pub(super) functions: BTreeMap<u32, Stopping>,
    /// The module as it came, and what is needed to read a function of it again.
    source: Arc<[u8]>,
    resources: Option<ValidatorResources>,
    /// Where frames begin in the memory for them.
    pub frames: u32,
    /// Pages that this memory has at first: enough for any one frame, so that a program which asks needs no more.
    pub side_pages: u64,
    /// Of each note that a segment was dropped: its number, and the function that drops it.
    pub drops: BTreeMap<u32, String>,
    pub(super) ask: AskMemory,
}

/// A function that may be on the stack when the program stops.
pub(super) struct Stopping {
    /// Where its body stands in the source.
    range: Range<usize>,
    pub frames: Frames,
    pub first_site: u32,
}

impl Rewritten {
    /// Functions that the program has, imported ones not counted.
    pub fn functions(&self) -> usize {
        self.program.functions.len() - self.program.imports as usize
    }

    /// What a function takes and gives, imported ones first.
    pub(crate) fn signature(&self, function: u32) -> (Vec<ValType>, Vec<ValType>) {
        self.program.signature(function)
    }

    /// Functions of its own in which it can be stopped.
    pub fn stoppable(&self) -> usize {
        self.functions.len()
    }

    /// Reads the body of a function again.
    pub(super) fn body(&self, function: u32, stopping: &Stopping) -> Result<Body<'_>, Refusal> {
        let lost = || Refusal::new("a function that is not there");
        let bytes = self.source.get(stopping.range.clone()).ok_or_else(lost)?;
        let reader = BinaryReader::new_features(bytes, stopping.range.start, features());
        let to_validate = FuncToValidate {
            resources: self.resources.clone().ok_or_else(lost)?,
            index: function,
            ty: self.program.functions[function as usize],
            features: features(),
        };
        let mut checker = to_validate.into_validator(FuncValidatorAllocations::default());
        let params = self.program.signature(function).0;
        Body::read(&FunctionBody::new(reader), &mut checker, &params, &mut Budget::new())
    }
}

/// What a module is made of.
#[derive(Default)]
struct Parts<'a> {
    program: Program,
    bodies: Vec<Body<'a>>,
    ranges: Vec<Range<usize>>,
    resources: Option<ValidatorResources>,
    exposed: BTreeSet<u32>,
    stopping: BTreeSet<u32>,
    names: BTreeMap<u32, String>,
    start: Option<u32>,
    tables: Vec<wasmparser::TableType>,
    memories: Vec<wasmparser::MemoryType>,
    globals: Vec<wasmparser::GlobalType>,
    segments: (u32, u32),
}

/// Makes a module one that can be stopped. `stopping` says in which imported functions (module, name) a program may be.
///
/// # Errors
/// Why the module is not admitted.
pub fn rewrite(
    source: Arc<[u8]>,
    stopping: &dyn Fn(&str, &str) -> bool,
    ask: AskMemory,
) -> Result<Rewritten, Refusal> {
    let parts = take_apart(&source, stopping)?;
    put_together(&source, parts, ask)
}

fn features() -> WasmFeatures {
    WasmFeatures::WASM2
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::RELAXED_SIMD
}

/// Reads modules as they are checked.
fn parser() -> Parser {
    let mut parser = Parser::new(0);
    parser.set_features(features());
    parser
}

fn take_apart<'a>(bytes: &'a [u8], stopping: &dyn Fn(&str, &str) -> bool) -> Result<Parts<'a>, Refusal> {
    let mut parts = Parts::default();
    let mut validator = Validator::new_with_features(features());
    let mut allocations = FuncValidatorAllocations::default();
    let mut codes = Vec::new();
    let mut budget = Budget::new();
    for payload in parser().parse_all(bytes) {
        let payload = payload?;
        if let ValidPayload::Func(function, body) = validator.payload(&payload)? {
            codes.push((function, body));
        }
        match payload {
            Payload::TypeSection(section) => {
                for group in section {
                    for ty in group?.into_types() {
                        match ty.composite_type.inner {
                            CompositeInnerType::Func(ty) => parts.program.types.push(ty),
                            _ => return Err(Refusal::new("it has types that are none of functions")),
                        }
                    }
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    if import.module.starts_with(PREFIX) {
                        return Err(Refusal::new(format!(
                            "it imports from `{}`, a name that is kept",
                            import.module
                        )));
                    }
                    match import.ty {
                        TypeRef::Func(ty) => {
                            let index = parts.program.functions.len() as u32;
                            if stopping(import.module, import.name) {
                                parts.stopping.insert(index);
                            }
                            parts.names.insert(index, format!("{}.{}", import.module, import.name));
                            parts.program.functions.push(ty);
                            parts.program.imports += 1;
                        }
                        _ => {
                            let what = format!("{}.{}", import.module, import.name);
                            return Err(Refusal::new(format!("it imports {what}, which is no function")));
                        }
                    }
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    parts.program.functions.push(ty?);
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    let table = table?;
                    if let wasmparser::TableInit::Expr(expression) = &table.init {
                        expose(expression, &mut parts.exposed)?;
                    }
                    parts.tables.push(table.ty);
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    parts.memories.push(memory?);
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    let global = global?;
                    expose(&global.init_expr, &mut parts.exposed)?;
                    parts.globals.push(global.ty);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    if export.name.starts_with(PREFIX) {
                        return Err(Refusal::new(format!(
                            "it exports `{}`, a name that is kept",
                            export.name
                        )));
                    }
                    if export.kind == ExternalKind::Func {
                        parts.exposed.insert(export.index);
                        parts.names.entry(export.index).or_insert_with(|| export.name.to_owned());
                    }
                }
            }
            Payload::StartSection { func, .. } => parts.start = Some(func),
            Payload::ElementSection(section) => {
                parts.segments.1 = section.count();
                for element in section {
                    match element?.items {
                        wasmparser::ElementItems::Functions(functions) => {
                            for function in functions {
                                parts.exposed.insert(function?);
                            }
                        }
                        wasmparser::ElementItems::Expressions(_, expressions) => {
                            for expression in expressions {
                                expose(&expression?, &mut parts.exposed)?;
                            }
                        }
                    }
                }
            }
            Payload::DataSection(section) => parts.segments.0 = section.count(),
            Payload::CustomSection(custom) => {
                if let KnownCustom::Name(names) = custom.as_known() {
                    for name in names.into_iter().flatten() {
                        let Name::Function(map) = name else { continue };
                        // No more than there are functions, whatever it names.
                        let known = parts.program.functions.len() as u32;
                        for naming in map.into_iter().flatten().filter(|naming| naming.index < known) {
                            parts.names.insert(naming.index, naming.name.chars().take(64).collect());
                        }
                    }
                }
            }
            _ => {}
        }
    }
    for (index, (function, body)) in (parts.program.imports..).zip(codes) {
        parts.resources.get_or_insert_with(|| function.resources.clone());
        parts.ranges.push(body.range());
        let mut checker = function.into_validator(allocations);
        let params = parts.program.signature(index).0;
        let read = Body::read(&body, &mut checker, &params, &mut budget);
        let read = read.map_err(|refusal| refusal.within(|| name(&parts.names, index)))?;
        for op in &read.ops {
            if let Operator::RefFunc { function_index } = op {
                parts.exposed.insert(*function_index);
            }
        }
        parts.bodies.push(read);
        allocations = checker.into_allocations();
    }
    Ok(parts)
}

fn expose(expression: &wasmparser::ConstExpr<'_>, exposed: &mut BTreeSet<u32>) -> Result<(), Refusal> {
    for op in expression.get_operators_reader() {
        if let Operator::RefFunc { function_index } = op? {
            exposed.insert(function_index);
        }
    }
    Ok(())
}

fn name(names: &BTreeMap<u32, String>, index: u32) -> String {
    names.get(&index).map_or_else(|| format!("{index}"), |name| format!("{index} (`{name}`)"))
}

fn put_together(source: &Arc<[u8]>, mut parts: Parts<'_>, ask: AskMemory) -> Result<Rewritten, Refusal> {
    let bytes: &[u8] = source;
    let imports = parts.program.imports;
    let canonical = canonical(&parts.program);
    let reach = Reach::of(
        imports,
        &parts.stopping,
        &parts.bodies,
        &parts.program.functions,
        &canonical,
        &parts.exposed,
    );
    for (index, body) in (imports..).zip(&parts.bodies) {
        for op in &body.ops {
            let Some(helper) = Helper::of(op) else { continue };
            let drops = matches!(helper, Helper::DataDrop(_) | Helper::ElemDrop(_));
            if drops || reach.places.contains_key(&index) {
                let next = parts.program.helpers.len() as u32;
                parts.program.helpers.entry(helper).or_insert(next);
            }
        }
    }
    if parts.segments.0.saturating_add(parts.segments.1) > SEGMENTS {
        return Err(Refusal::new(format!("it has more than {SEGMENTS} segments")));
    }
    let program = Arc::new(std::mem::take(&mut parts.program));
    let count = program.functions.len() as u32;
    let first_stand_in = count + 1;
    let stand_ins: BTreeMap<u32, u32> = parts.stopping.iter().copied().zip(first_stand_in..).collect();
    let reserve = first_stand_in + stand_ins.len() as u32;
    let mut base = Base {
        program: program.clone(),
        types: Types::new(&program, program.types.len() as u32),
        own: Own {
            poll: imports,
            reserve,
            tag: 0,
            ask: 0,
            asked: ask,
            side: parts.memories.len() as u32 + 1,
            top: parts.globals.len() as u32,
            table: parts.tables.len() as u32,
            data: parts.segments.0,
            frames: (NOTES + parts.segments.0 + parts.segments.1).next_multiple_of(64),
        },
        stand_ins,
        helpers: reserve + 1,
    };

    // Code first: it says which types are needed.
    let mut sites = Vec::new();
    let mut functions = BTreeMap::new();
    let mut codes: Vec<Code> = Vec::new();
    let mut written = 0usize;
    let mut called = parts.exposed.clone();
    called.extend(parts.start);
    let bodies = std::mem::take(&mut parts.bodies).into_iter().zip(std::mem::take(&mut parts.ranges));
    for (index, (body, range)) in (imports..).zip(bodies) {
        let results = program.signature(index).1;
        let code = match reach.places.get(&index) {
            None => {
                let mut frames = Frames::none(&body);
                Emit::new(&mut base, &body, &mut frames, 0, results).plainly()
            }
            Some(places) => {
                let args = |at: usize| match body.ops[at] {
                    Operator::Call { function_index } => program.signature(function_index).0.len(),
                    Operator::CallIndirect { type_index, .. } => program.of_type(type_index).0.len() + 1,
                    _ => 0,
                };
                let first_site = sites.len() as u32;
                Frames::of(&body, places, args).and_then(|mut frames| {
                    let code = Emit::new(&mut base, &body, &mut frames, first_site, results).function()?;
                    sites.extend(
                        frames.sites.iter().zip(0..).map(|(site, number)| (index, number, site.bytes)),
                    );
                    called.extend(body.ops.iter().filter_map(|op| match op {
                        Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                            Some(*function_index)
                        }
                        _ => None,
                    }));
                    functions.insert(index, Stopping { range, frames, first_site });
                    Ok(code)
                })
            }
        };
        let code = code.and_then(|code| {
            written = written.saturating_add(code.bytes.len());
            if code.bytes.len() > FUNCTION_BYTES || written > CODE_BYTES {
                return Err(Refusal::new("it becomes too large when it is made one that can be stopped"));
            }
            Ok(code)
        });
        codes.push(code.map_err(|refusal| refusal.within(|| name(&parts.names, index)))?);
    }
    let drops = program.helpers.iter().filter_map(|(helper, number)| {
        let note = match helper {
            Helper::DataDrop(segment) => *segment,
            Helper::ElemDrop(segment) => parts.segments.0 + *segment,
            _ => return None,
        };
        Some((note, format!("h{number}")))
    });
    let drops = drops.collect();
    let mut own_types = Vec::new();
    for stand_in in parts.stopping.iter().copied() {
        own_types.push(program.functions[stand_in as usize]);
        let (bytes, code) = own::stand_in(&mut base, stand_in, sites.len() as u32)?;
        sites.push((stand_in, 0, bytes));
        codes.push(code);
    }
    own_types.push(base.types.find(&[ValType::I32], &[ValType::I32]));
    codes.push(own::reserve(&base.own));
    let helpers: BTreeMap<u32, Helper> =
        program.helpers.iter().map(|(helper, number)| (*number, *helper)).collect();
    for helper in helpers.values() {
        let (ty, code) = own::helper(&mut base, *helper)?;
        own_types.push(ty);
        codes.push(code);
    }
    if sites.len() > SITES {
        return Err(Refusal::new(format!("it has more than {SITES} places at which it may be stopped")));
    }
    let largest = sites.iter().map(|(.., bytes)| *bytes).max().unwrap_or_default();
    let side_pages = (u64::from(base.own.frames) + u64::from(largest)).div_ceil(1 << 16);
    let poll_type = base.types.find(&[ValType::I32], &[ValType::I32]);
    let stop_type = base.types.find(&[], &[]);

    let mut types = TypeSection::new();
    let mut import_section = ImportSection::new();
    let mut function_section = FunctionSection::new();
    let mut tables = TableSection::new();
    let mut memories = MemorySection::new();
    let mut globals = GlobalSection::new();
    let mut exports = ExportSection::new();
    let mut elements = ElementSection::new();
    let mut data_count = None;
    let mut data = DataSection::new();
    for payload in parser().parse_all(bytes) {
        match payload? {
            Payload::TypeSection(section) => base.parse_type_section(&mut types, section)?,
            Payload::ImportSection(section) => base.parse_import_section(&mut import_section, section)?,
            Payload::FunctionSection(section) => {
                base.parse_function_section(&mut function_section, section)?
            }
            Payload::TableSection(section) => base.parse_table_section(&mut tables, section)?,
            Payload::MemorySection(section) => base.parse_memory_section(&mut memories, section)?,
            Payload::GlobalSection(section) => base.parse_global_section(&mut globals, section)?,
            Payload::ExportSection(section) => base.parse_export_section(&mut exports, section)?,
            Payload::ElementSection(section) => base.parse_element_section(&mut elements, section)?,
            Payload::DataCountSection { count, .. } => data_count = Some(DataCountSection { count }),
            Payload::DataSection(section) => base.parse_data_section(&mut data, section)?,
            _ => {}
        }
    }
    for (params, results) in &base.types.added.clone() {
        let params: Vec<Val> = params.iter().map(|ty| base.val_type(*ty)).collect::<Result<_, _>>()?;
        let results: Vec<Val> = results.iter().map(|ty| base.val_type(*ty)).collect::<Result<_, _>>()?;
        types.ty().function(params, results);
    }
    import_section.import(PREFIX, "poll", EntityType::Function(poll_type));
    import_section.import(PREFIX, "ask", ask_memory(ask));
    for ty in &own_types {
        function_section.function(*ty);
    }
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: sites.len() as u64,
        maximum: Some(sites.len() as u64),
        shared: false,
    });
    memories.memory(MemoryType {
        minimum: side_pages,
        maximum: Some(SIDE_PAGES),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut tags = TagSection::new();
    tags.tag(TagType { kind: TagKind::Exception, func_type_idx: stop_type });
    globals.global(
        GlobalType { val_type: Val::I32, mutable: true, shared: false },
        &ConstExpr::i32_const(base.own.frames as i32),
    );

    let mut export = |name: String, kind: ExportKind, index: u32| {
        exports.export(&format!("{PREFIX}{name}"), kind, index);
    };
    (0..parts.memories.len() as u32)
        .for_each(|memory| export(format!("m{memory}"), ExportKind::Memory, memory + 1));
    (0..base.own.table).for_each(|table| export(format!("t{table}"), ExportKind::Table, table));
    (0..base.own.top).for_each(|global| export(format!("g{global}"), ExportKind::Global, global));
    export("side".into(), ExportKind::Memory, base.own.side);
    export("rest".into(), ExportKind::Table, base.own.table);
    export("top".into(), ExportKind::Global, base.own.top);
    export("stop".into(), ExportKind::Tag, 0);
    export("reserve".into(), ExportKind::Func, reserve);
    for function in called {
        export(format!("f{function}"), ExportKind::Func, base.function_index(function)?);
    }
    (0..helpers.len() as u32).for_each(|n| export(format!("h{n}"), ExportKind::Func, base.helpers + n));

    let mut hints = BranchHints::new();
    let mut code_section = CodeSection::new();
    for (index, code) in (imports + 1..).zip(&codes) {
        let unlikely = code.unlikely.iter();
        let unlikely = unlikely.map(|at| BranchHint { branch_func_offset: *at, branch_hint_value: 0 });
        if unlikely.len() > 0 {
            hints.function_hints(index, unlikely);
        }
        code_section.raw(&code.bytes);
    }

    let mut module = Module::new();
    module
        .section(&types)
        .section(&import_section)
        .section(&function_section)
        .section(&tables)
        .section(&memories);
    module.section(&tags).section(&globals).section(&exports);
    if !elements.is_empty() {
        module.section(&elements);
    }
    if let Some(count) = &data_count {
        module.section(count);
    }
    if !hints.is_empty() {
        module.section(&hints);
    }
    module.section(&code_section);
    if !data.is_empty() {
        module.section(&data);
    }
    Ok(Rewritten {
        module: module.finish(),
        start: parts.start,
        sites,
        program,
        memories: parts.memories,
        tables: parts.tables,
        globals: parts.globals,
        functions,
        source: source.clone(),
        resources: parts.resources,
        frames: base.own.frames,
        side_pages,
        drops,
        ask,
    })
}

/// The host's memory, in which it says that it wants to be asked.
pub(crate) fn ask_memory(ask: AskMemory) -> MemoryType {
    let shared = ask == AskMemory::Shared;
    MemoryType { minimum: 1, maximum: Some(1), memory64: false, shared, page_size_log2: None }
}

/// Of each type the first one that is equal.
fn canonical(program: &Program) -> Vec<u32> {
    let mut known = BTreeMap::new();
    (0..).zip(&program.types).map(|(index, ty)| *known.entry(format!("{ty:?}")).or_insert(index)).collect()
}
