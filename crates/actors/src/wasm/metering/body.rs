//! Rewrites one function so that it counts its fuel and can be stopped.
//!
//! *Counting.* What was executed and is not yet taken from the fuel is *outstanding*: a number that is known
//! while the code is rewritten. It is taken where control leaves the function for another one. Where paths
//! meet, all of them must have the same outstanding, so the first one to be written decides, and the others
//! take or give back the difference on their way. So a loop without branches has one subtraction, and of two
//! branches one has none. Since outstanding is never below zero, the fuel in the register is never less than
//! what is left, and no event is called exhausted that is not.
//!
//! *Checking.* Something is checked on every way round a loop, and as a function begins that calls another,
//! so nothing runs for ever unchecked; also before a call of the host and before memory is copied, which may
//! take long.

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{BlockType, Function, MemArg, ValType};
use wasmparser::{FunctionBody, Operator};

use super::labels::{Survey, survey};
use super::{BOARD, COSTS, Metering, PIECE, STOPPED_WORD, Signatures, cost, offset, unwritable};
use crate::wasm::module_error::ModuleError;

/// A block, loop, `if` or function that is open where the code is written.
struct Frame {
    label: usize,
    is_loop: bool,
    /// Branches to it carry no values.
    plain: bool,
    /// It is entered at all.
    live: bool,
    /// Its end is reached by a branch.
    reached: bool,
    /// Outstanding as an `if` chooses.
    at_entry: i64,
}

/// Variables to move operands in.
const TEMPORARIES: u32 = 3;

struct Writer<'a> {
    signatures: &'a Signatures,
    survey: Survey,
    output: Function,
    frames: Vec<Frame>,
    labels: usize,
    /// By group of labels, once a path has come to one of it.
    agreed: Vec<Option<i64>>,
    outstanding: i64,
    /// The next instruction can be reached.
    live: bool,
    /// Parameters of the function as it was; also the index of the fuel.
    parameters: u32,
    temporary: u32,
    /// There is a place behind the function where it says that it stopped.
    stops: bool,
}

/// The next function of the module, whose sections before the code were given to `signatures`.
pub(in crate::wasm) fn rewrite(
    module: &[u8],
    body: &FunctionBody<'_>,
    signatures: &mut Signatures,
) -> Result<Function, ModuleError> {
    let function = signatures.imported + signatures.rewritten;
    signatures.rewritten += 1;
    let signatures = &*signatures;
    let checked_at_entry = signatures.is_checked(function);
    let survey = survey(body, checked_at_entry, &|function| signatures.is_checked(function))?;
    let parameters = signatures.of(function).params().len() as u32;
    let mut locals = Vec::new();
    let mut variables = 0;
    for group in body.get_locals_reader()? {
        let (count, kind) = group?;
        variables += count;
        locals.push((count, RoundtripReencoder.val_type(kind).map_err(|error| unwritable(&error))?));
    }
    if survey.needs_temporary {
        locals.push((TEMPORARIES, ValType::I32));
    }
    let mut writer = Writer {
        output: Function::new(locals),
        frames: Vec::new(),
        labels: 0,
        agreed: vec![None; survey.labels.len()],
        outstanding: 0,
        live: true,
        parameters,
        temporary: parameters + u32::from(signatures.counts()) + variables,
        stops: survey.checked && signatures.counts(),
        signatures,
        survey,
    };
    if writer.stops {
        writer.output.instructions().block(BlockType::Empty);
    }
    // The function's own label becomes a block's, behind which fuel is given back.
    writer.output.instructions().block(signatures.block(function)?);
    writer.open(false, signatures.of(function).results().is_empty());
    if checked_at_entry {
        writer.check();
    }
    let mut reader = body.get_operators_reader()?;
    while !reader.eof() {
        let start = reader.original_position();
        let operator = reader.read()?;
        writer.operator(&operator, &module[start..reader.original_position()])?;
    }
    Ok(writer.output)
}

impl Writer<'_> {
    fn operator(&mut self, operator: &Operator<'_>, bytes: &[u8]) -> Result<(), ModuleError> {
        if self.live && self.signatures.counts() {
            self.outstanding += cost(operator);
        }
        match *operator {
            Operator::Block { blockty } => {
                self.copy(bytes);
                self.open(false, self.gives_nothing(blockty));
            }
            Operator::Loop { blockty } => {
                let label = self.labels;
                self.agree(label);
                self.copy(bytes);
                self.open(true, self.takes_nothing(blockty));
            }
            Operator::If { blockty } => {
                let alone = !self.survey.labels[self.labels].has_else;
                if alone {
                    self.agree(self.labels);
                }
                self.copy(bytes);
                self.open(false, self.gives_nothing(blockty));
                if let Some(frame) = self.frames.last_mut() {
                    frame.reached = alone && self.live;
                }
            }
            Operator::Else => {
                self.reach(0, false);
                self.copy(bytes);
                if let Some(frame) = self.frames.last() {
                    (self.live, self.outstanding) = (frame.live, frame.at_entry);
                }
            }
            Operator::End => self.end(bytes),
            Operator::Br { relative_depth } => {
                self.reach(relative_depth, false);
                self.copy(bytes);
                self.live = false;
            }
            Operator::BrIf { relative_depth } => self.branch_if(relative_depth, bytes),
            Operator::BrTable { ref targets } => {
                let mut turned = self.reach(targets.default(), false);
                for depth in targets.targets() {
                    turned = self.reach(depth?, turned);
                }
                self.copy(bytes);
                self.live = false;
            }
            Operator::Return => {
                let depth = self.frames.len() as u32 - 1;
                self.reach(depth, false);
                self.output.instructions().br(depth);
                self.live = false;
            }
            Operator::Unreachable => {
                self.copy(bytes);
                self.live = false;
            }
            Operator::LocalGet { local_index } => {
                let index = self.local(local_index);
                self.output.instructions().local_get(index);
            }
            Operator::LocalSet { local_index } => {
                let index = self.local(local_index);
                self.output.instructions().local_set(index);
            }
            Operator::LocalTee { local_index } => {
                let index = self.local(local_index);
                self.output.instructions().local_tee(index);
            }
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                if function_index < self.signatures.imported {
                    self.check();
                }
                self.pass_fuel();
                self.copy(bytes);
                self.take_fuel(operator);
            }
            Operator::CallIndirect { type_index, table_index }
            | Operator::ReturnCallIndirect { type_index, table_index } => {
                self.call_indirect(operator, type_index, table_index);
            }
            Operator::MemoryCopy { .. } | Operator::MemoryFill { .. } | Operator::MemoryInit { .. } => {
                self.pay_for_bytes();
                if self.signatures.metering != Metering::None {
                    self.in_pieces(operator);
                }
                self.copy(bytes);
            }
            _ => self.copy(bytes),
        }
        Ok(())
    }

    /// The index of what is called is on top of the arguments, where the fuel must be.
    fn call_indirect(&mut self, operator: &Operator<'_>, type_index: u32, table_index: u32) {
        if self.signatures.counts() {
            self.output.instructions().local_set(self.temporary);
            self.pass_fuel();
            self.output.instructions().local_get(self.temporary);
        }
        let index = self.signatures.metered(type_index);
        let mut instructions = self.output.instructions();
        match operator {
            Operator::CallIndirect { .. } => instructions.call_indirect(table_index, index),
            _ => instructions.return_call_indirect(table_index, index),
        };
        self.take_fuel(operator);
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.output.raw(bytes.iter().copied());
    }

    /// Fuel lies between the parameters and the variables.
    fn local(&self, index: u32) -> u32 {
        index + u32::from(self.signatures.counts() && index >= self.parameters)
    }

    fn open(&mut self, is_loop: bool, plain: bool) {
        let (label, live, at_entry) = (self.labels, self.live, self.outstanding);
        self.labels += 1;
        self.frames.push(Frame { label, is_loop, plain, live, reached: false, at_entry });
    }

    fn gives_nothing(&self, kind: wasmparser::BlockType) -> bool {
        match kind {
            wasmparser::BlockType::Empty => true,
            wasmparser::BlockType::Type(_) => false,
            wasmparser::BlockType::FuncType(index) => {
                self.signatures.types[index as usize].results().is_empty()
            }
        }
    }

    fn takes_nothing(&self, kind: wasmparser::BlockType) -> bool {
        match kind {
            wasmparser::BlockType::FuncType(index) => {
                self.signatures.types[index as usize].params().is_empty()
            }
            _ => true,
        }
    }

    fn agreed(&mut self, label: usize) -> &mut Option<i64> {
        &mut self.agreed[self.survey.labels[label].group]
    }

    /// A path comes to a label: it has the outstanding of the others, or decides on it.
    fn agree(&mut self, label: usize) {
        if !self.live {
            return;
        }
        let outstanding = self.outstanding;
        let agreed = *self.agreed(label).get_or_insert(outstanding);
        self.settle(agreed);
    }

    /// A path comes to the label of this depth by a branch, or by the end of a branch. Gives whether it was
    /// checked for another turn of a loop, just now or before.
    fn reach(&mut self, depth: u32, turned: bool) -> bool {
        let index = self.frames.len() - 1 - depth as usize;
        let Frame { label, is_loop, .. } = self.frames[index];
        if self.live && is_loop && !turned && self.survey.labels[label].unchecked {
            self.turn(label);
            return true;
        }
        self.agree(label);
        self.frames[index].reached |= self.live;
        turned
    }

    /// Takes the difference from the fuel.
    fn settle(&mut self, outstanding: i64) {
        let difference = self.outstanding - outstanding;
        self.outstanding = outstanding;
        if difference != 0 {
            let fuel = self.parameters;
            self.output.instructions().local_get(fuel).i64_const(difference).i64_sub().local_set(fuel);
        }
    }

    /// Pays for one turn of a loop, and checks.
    fn turn(&mut self, label: usize) {
        let outstanding = self.outstanding;
        let agreed = *self.agreed(label).get_or_insert(outstanding);
        let difference = outstanding - agreed;
        if !self.signatures.counts() || !(1..=COSTS as i64).contains(&difference) {
            self.settle(agreed);
            return self.check();
        }
        self.outstanding = agreed;
        let (fuel, stop) = (self.parameters, self.frames.len() as u32);
        let cost =
            MemArg { offset: offset(STOPPED_WORD + difference as usize), align: 3, memory_index: BOARD };
        let mut instructions = self.output.instructions();
        instructions.local_get(fuel).i32_const(0).i64_atomic_load(cost).i64_sub().local_tee(fuel);
        instructions.i64_const(0).i64_lt_s().br_if(stop);
    }

    fn branch_if(&mut self, depth: u32, bytes: &[u8]) {
        let index = self.frames.len() - 1 - depth as usize;
        let Frame { label, is_loop, plain, .. } = self.frames[index];
        let outstanding = self.outstanding;
        let agreed = *self.agreed(label);
        if self.live && plain && !is_loop && agreed.is_some_and(|agreed| agreed != outstanding) {
            // A path that does not branch does not pay for the difference.
            self.output.instructions().if_(BlockType::Empty);
            self.reach(depth, false);
            self.output.instructions().br(depth + 1).end();
            self.outstanding = outstanding;
            return;
        }
        self.reach(depth, false);
        self.copy(bytes);
    }

    fn end(&mut self, bytes: &[u8]) {
        let Some(frame) = self.frames.pop() else { return };
        if !frame.is_loop && frame.reached {
            let agreed = self.agreed(frame.label).unwrap_or(0);
            if self.live {
                self.settle(agreed);
            }
            (self.live, self.outstanding) = (true, agreed);
        }
        self.copy(bytes);
        if self.frames.is_empty() {
            self.finish();
        }
    }

    /// Behind the block that the function was: what it gave is on the stack.
    fn finish(&mut self) {
        self.pass_fuel();
        if self.stops {
            let stopped = MemArg { offset: offset(STOPPED_WORD), align: 0, memory_index: BOARD };
            self.output.instructions().return_().end();
            self.output.instructions().i32_const(0).i32_const(1).i32_store8(stopped).unreachable();
        }
        self.output.instructions().end();
    }

    /// An instruction whose operands are on the stack, of which the last is a number of bytes: while these
    /// are more than a piece, a piece is done here, and checked. What is left is on the stack then.
    ///
    /// Pieces are taken from the end, as is right for what is moved upwards onto itself; what is moved
    /// downwards is taken from the beginning. Whatever reaches out of memory or data traps, though some
    /// pieces were done by then: nothing of the event stays.
    fn in_pieces(&mut self, operator: &Operator<'_>) {
        let (count, from, to) = (self.temporary, self.temporary + 1, self.temporary + 2);
        let mut code = self.output.instructions();
        code.local_set(count).local_set(from).local_set(to);
        code.block(BlockType::Empty).loop_(BlockType::Empty);
        code.local_get(count).i32_const(PIECE).i32_le_u().br_if(1);
        code.local_get(count).i32_const(PIECE).i32_sub().local_set(count);
        match *operator {
            Operator::MemoryFill { .. } => {
                code.local_get(to).local_get(count).i32_add().local_get(from).i32_const(PIECE).memory_fill(0);
            }
            Operator::MemoryInit { data_index, .. } => {
                code.local_get(to).local_get(count).i32_add().local_get(from).local_get(count).i32_add();
                code.i32_const(PIECE).memory_init(0, data_index);
            }
            _ => {
                code.local_get(to).local_get(from).i32_gt_u().if_(BlockType::Empty);
                code.local_get(to).local_get(count).i32_add().local_get(from).local_get(count).i32_add();
                code.i32_const(PIECE).memory_copy(0, 0).else_();
                code.local_get(to).local_get(from).i32_const(PIECE).memory_copy(0, 0);
                code.local_get(to).i32_const(PIECE).i32_add().local_set(to);
                code.local_get(from).i32_const(PIECE).i32_add().local_set(from).end();
            }
        }
        self.check_inside(2);
        self.output.instructions().br(0).end().end().local_get(to).local_get(from).local_get(count);
    }

    /// Stops here if the event is cut off or its fuel is used up.
    fn check(&mut self) {
        self.check_inside(0);
    }

    /// The same inside of labels that are not the function's own.
    fn check_inside(&mut self, labels: u32) {
        // Outside of all frames.
        let stop = self.frames.len() as u32 + labels;
        let fuel = self.parameters;
        let gate = MemArg { offset: offset(0), align: 2, memory_index: BOARD };
        let mut instructions = self.output.instructions();
        // Of four bytes: that is the shortest load.
        instructions.i32_const(0).i32_atomic_load(gate).drop();
        if self.signatures.counts() {
            instructions.local_get(fuel).i64_const(0).i64_lt_s().br_if(stop);
        }
    }

    /// Puts what is left on the stack: the last argument, or the last result.
    fn pass_fuel(&mut self) {
        if !self.signatures.counts() {
            return;
        }
        let (fuel, outstanding) = (self.parameters, self.outstanding);
        let mut instructions = self.output.instructions();
        instructions.local_get(fuel);
        if outstanding != 0 {
            instructions.i64_const(outstanding).i64_sub();
        }
        self.outstanding = 0;
    }

    /// After a call: what the callee left.
    fn take_fuel(&mut self, call: &Operator<'_>) {
        if matches!(call, Operator::ReturnCall { .. } | Operator::ReturnCallIndirect { .. }) {
            self.live = false;
        } else if self.signatures.counts() {
            self.output.instructions().local_set(self.parameters);
        }
    }

    /// The number of bytes is on the stack.
    fn pay_for_bytes(&mut self) {
        let (fuel, temporary, outstanding) = (self.parameters, self.temporary, self.outstanding);
        if self.signatures.counts() {
            let mut instructions = self.output.instructions();
            instructions.local_tee(temporary).local_get(fuel).local_get(temporary);
            instructions.i64_extend_i32_u().i64_sub();
            if outstanding != 0 {
                instructions.i64_const(outstanding).i64_sub();
            }
            instructions.local_set(fuel);
            self.outstanding = 0;
        }
        self.check();
    }
}
