//! How a scalar function is defined: its forms (what arguments it takes), its result type, its evaluation over columns.
//!
//! ```text
//! Function::new("split_index", forms![[Text, Text, Long]], Returns::Text, split_index)
//! ```
//! Arguments arrive coerced to what the form says, so that an evaluation meets one Arrow type per argument.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, PrimitiveArray, StringViewArray, StringViewBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{ArrowPrimitiveType, DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::sql::types::{self, UTC};

/// What an argument may be, and what it is coerced to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `Utf8View`.
    Text,
    /// Any integer, to `Int64`.
    Long,
    /// Any number, to `Float64`.
    Double,
    /// Any number, kept as it is.
    Number,
    /// `Binary`; a text is taken as its UTF-8 bytes.
    Bytes,
    /// A timestamp, with or without zone, kept as it is; a date becomes `TIMESTAMP(3)`, a literal text `TIMESTAMP(6)`.
    Timestamp,
    /// A timestamp or a text.
    TimestampOrText,
    /// `TIME(3)`.
    TimeOfDay,
    /// Whatever it is; strings become `Utf8View`.
    Any,
}

impl Kind {
    fn coerce(self, given: &DataType) -> Option<DataType> {
        use DataType as T;
        let is_text = matches!(given, T::Utf8 | T::Utf8View | T::LargeUtf8);
        match (self, given) {
            (Kind::Text, T::Null) => Some(T::Utf8View),
            (Kind::Text, _) if is_text => Some(T::Utf8View),
            (Kind::Long, T::Null) => Some(T::Int64),
            (Kind::Long, _) if given.is_integer() => Some(T::Int64),
            (Kind::Double, T::Null) => Some(T::Float64),
            (Kind::Double, _) if given.is_numeric() => Some(T::Float64),
            (Kind::Number, T::Null) => Some(T::Float64),
            (Kind::Number, _) if given.is_numeric() => Some(given.clone()),
            (Kind::Bytes, T::Null | T::Binary | T::BinaryView | T::LargeBinary | T::FixedSizeBinary(_)) => Some(T::Binary),
            (Kind::Bytes, _) if is_text => Some(T::Binary),
            (Kind::Timestamp | Kind::TimestampOrText, T::Timestamp(TimeUnit::Second, zone)) => {
                Some(T::Timestamp(TimeUnit::Millisecond, zone.clone()))
            }
            (Kind::Timestamp | Kind::TimestampOrText, T::Timestamp(TimeUnit::Nanosecond, zone)) => {
                Some(T::Timestamp(TimeUnit::Microsecond, zone.clone()))
            }
            (Kind::Timestamp | Kind::TimestampOrText, T::Timestamp(..)) => Some(given.clone()),
            (Kind::Timestamp | Kind::TimestampOrText, T::Date32 | T::Date64 | T::Null) => Some(T::Timestamp(TimeUnit::Millisecond, None)),
            (Kind::Timestamp, _) if is_text => Some(T::Timestamp(TimeUnit::Microsecond, None)),
            (Kind::TimeOfDay, T::Time32(_) | T::Time64(_)) => Some(T::Time32(TimeUnit::Millisecond)),
            (Kind::TimestampOrText | Kind::Any, _) if is_text => Some(T::Utf8View),
            (Kind::Any, _) => Some(given.clone()),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Text => "STRING",
            Kind::Long => "BIGINT",
            Kind::Double => "DOUBLE",
            Kind::Number => "a number",
            Kind::Bytes => "BYTES",
            Kind::Timestamp => "TIMESTAMP",
            Kind::TimestampOrText => "TIMESTAMP or STRING",
            Kind::TimeOfDay => "TIME",
            Kind::Any => "ANY",
        }
    }
}

/// One list of arguments that a function takes.
#[derive(Debug)]
pub(super) struct Form {
    /// Those that must be there.
    pub fixed: &'static [Kind],
    /// Any number of these may follow.
    pub rest: Option<Kind>,
}

/// The forms of a function: `forms![[Text], [Text, Long; Any]]` takes a text, or a text, a number and then anything.
macro_rules! forms {
    ($([$($fixed:expr),* $(; $rest:expr)?]),+ $(,)?) => {
        const {
            &[$($crate::sql::functions::define::Form {
                fixed: &[$($fixed),*],
                rest: $crate::sql::functions::define::forms!(@rest $($rest)?),
            }),+]
        }
    };
    (@rest) => { None };
    (@rest $rest:expr) => { Some($rest) };
}
pub(super) use forms;

impl Form {
    fn kind(&self, at: usize) -> Option<Kind> {
        self.fixed.get(at).copied().or(self.rest)
    }

    fn coerce(&self, given: &[DataType]) -> Option<Vec<DataType>> {
        let fits = given.len() == self.fixed.len() || (given.len() > self.fixed.len() && self.rest.is_some());
        fits.then(|| given.iter().enumerate().map(|(at, t)| self.kind(at)?.coerce(t)).collect())?
    }

    fn show(&self) -> String {
        let mut kinds: Vec<_> = self.fixed.iter().map(|k| k.name()).collect();
        let rest = self.rest.map(|k| format!("{}…", k.name()));
        kinds.extend(rest.as_deref());
        format!("({})", kinds.join(", "))
    }
}

/// Type of the result.
#[derive(Debug, Clone, Copy)]
pub(super) enum Returns {
    /// STRING.
    Text,
    /// INT.
    Int,
    /// BIGINT.
    Long,
    /// DOUBLE.
    Double,
    /// BOOLEAN.
    Bool,
    /// DATE.
    Date,
    /// TIMESTAMP(3).
    Timestamp,
    /// TIMESTAMP_LTZ(3).
    LocalTimestamp,
    /// That of an argument.
    Argument(usize),
    /// Follows from the arguments.
    From(fn(&[DataType]) -> DfResult<DataType>),
}

impl Returns {
    fn data_type(self, args: &[DataType]) -> DfResult<DataType> {
        Ok(match self {
            Returns::Text => DataType::Utf8View,
            Returns::Int => DataType::Int32,
            Returns::Long => DataType::Int64,
            Returns::Double => DataType::Float64,
            Returns::Bool => DataType::Boolean,
            Returns::Date => DataType::Date32,
            Returns::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, None),
            Returns::LocalTimestamp => DataType::Timestamp(TimeUnit::Millisecond, Some(UTC.into())),
            Returns::Argument(at) => args.get(at).cloned().unwrap_or(DataType::Null),
            Returns::From(rule) => rule(args)?,
        })
    }
}

/// A scalar function as a plain value.
#[derive(Debug)]
pub(super) struct Function {
    /// Lower-case.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// What it takes.
    pub forms: &'static [Form],
    /// What it gives.
    pub returns: Returns,
    /// Does it give the same for the same arguments? `Volatile` for clocks and chance.
    pub volatility: Volatility,
    /// Rows in, rows out.
    pub eval: fn(&Args) -> DfResult<ArrayRef>,
}

impl Function {
    /// A function of its arguments alone.
    pub const fn new(name: &'static str, forms: &'static [Form], returns: Returns, eval: fn(&Args) -> DfResult<ArrayRef>) -> Function {
        Function { name, aliases: &[], forms, returns, volatility: Volatility::Immutable, eval }
    }

    /// Also known as.
    pub const fn also(mut self, aliases: &'static [&'static str]) -> Function {
        self.aliases = aliases;
        self
    }

    /// A function that gives another value each time.
    pub const fn volatile(mut self) -> Function {
        self.volatility = Volatility::Volatile;
        self
    }

    /// As DataFusion takes it.
    pub fn udf(self) -> ScalarUDF {
        let signature = match self.forms {
            [Form { fixed: [], rest: None }] => Signature::nullary(self.volatility),
            _ => Signature::user_defined(self.volatility),
        };
        let aliases = self.aliases.iter().map(|a| (*a).to_owned()).collect();
        ScalarUDF::from(Udf { function: self, signature, aliases })
    }
}

#[derive(Debug)]
struct Udf {
    function: Function,
    signature: Signature,
    aliases: Vec<String>,
}

impl PartialEq for Udf {
    fn eq(&self, other: &Self) -> bool {
        self.function.name == other.function.name
    }
}

impl Eq for Udf {}

impl Hash for Udf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
    }
}

impl ScalarUDFImpl for Udf {
    fn name(&self) -> &str {
        self.function.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> DfResult<Vec<DataType>> {
        self.function.forms.iter().find_map(|form| form.coerce(given)).ok_or_else(|| {
            let given: Vec<_> = given.iter().map(types::name).collect();
            let forms: Vec<_> = self.function.forms.iter().map(Form::show).collect();
            let name = self.function.name.to_uppercase();
            DataFusionError::Plan(format!("{name} takes {}, not ({})", forms.join(" or "), given.join(", ")))
        })
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        self.function.returns.data_type(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        // Constants only: one row stands for all.
        let constant = self.function.volatility == Volatility::Immutable
            && !args.args.is_empty()
            && args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let result = (self.function.eval)(&Args { name: self.function.name, rows, args: &args.args, returns: args.return_type() })?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// The arguments of one evaluation.
pub(super) struct Args<'a> {
    /// The function's name.
    pub name: &'static str,
    /// Rows to answer.
    pub rows: usize,
    /// The values, constants as such.
    pub args: &'a [ColumnarValue],
    /// Type of the result.
    pub returns: &'a DataType,
}

impl Args<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.args.len()
    }

    /// Argument `at` as a column.
    pub fn array(&self, at: usize) -> DfResult<ArrayRef> {
        match self.args.get(at) {
            Some(ColumnarValue::Array(array)) => Ok(array.clone()),
            Some(ColumnarValue::Scalar(scalar)) => scalar.to_array_of_size(self.rows),
            None => Err(self.fault(format!("argument {} is missing", at + 1))),
        }
    }

    fn typed<T: Array + Clone + 'static>(&self, at: usize) -> DfResult<T> {
        let array = self.array(at)?;
        array
            .as_any()
            .downcast_ref::<T>()
            .cloned()
            .ok_or_else(|| DataFusionError::Internal(format!("{}: argument {} is {}", self.name, at + 1, array.data_type())))
    }

    /// An argument of [`Kind::Text`].
    pub fn text(&self, at: usize) -> DfResult<StringViewArray> {
        self.typed(at)
    }

    /// An argument of [`Kind::Long`].
    pub fn long(&self, at: usize) -> DfResult<Int64Array> {
        self.typed(at)
    }

    /// An argument of [`Kind::Double`].
    pub fn double(&self, at: usize) -> DfResult<Float64Array> {
        self.typed(at)
    }

    /// An argument of [`Kind::Timestamp`] as microseconds.
    pub fn micros(&self, at: usize) -> DfResult<TimestampMicrosecondArray> {
        let array = self.array(at)?;
        let micros = arrow::compute::cast(&array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
        micros
            .as_any()
            .downcast_ref::<TimestampMicrosecondArray>()
            .cloned()
            .ok_or_else(|| DataFusionError::Internal(format!("{}: argument {} is {}", self.name, at + 1, array.data_type())))
    }

    /// The text of a constant argument; `None` when it is a column or NULL.
    pub fn constant_text(&self, at: usize) -> Option<&str> {
        match self.args.get(at)? {
            ColumnarValue::Scalar(ScalarValue::Utf8View(text) | ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text)) => text.as_deref(),
            _ => None,
        }
    }

    /// Is argument `at` a text?
    pub fn is_text(&self, at: usize) -> bool {
        self.args.get(at).is_some_and(|a| a.data_type() == DataType::Utf8View)
    }

    /// A fault in a value: of the row's kind, so that it can be dead-lettered.
    pub fn fault(&self, what: impl std::fmt::Display) -> DataFusionError {
        DataFusionError::Execution(format!("{}: {what}", self.name.to_uppercase()))
    }

    /// One text per row.
    pub fn texts<S: AsRef<str>>(&self, mut row: impl FnMut(usize) -> DfResult<Option<S>>) -> DfResult<ArrayRef> {
        let mut builder = StringViewBuilder::with_capacity(self.rows);
        for at in 0..self.rows {
            builder.append_option(row(at)?);
        }
        Ok(Arc::new(builder.finish()))
    }

    /// One number (or timestamp, of the result's type) per row.
    pub fn numbers<T: ArrowPrimitiveType>(&self, mut row: impl FnMut(usize) -> DfResult<Option<T::Native>>) -> DfResult<ArrayRef> {
        let mut builder = PrimitiveArray::<T>::builder(self.rows);
        for at in 0..self.rows {
            builder.append_option(row(at)?);
        }
        Ok(Arc::new(builder.finish().with_data_type(self.returns.clone())))
    }

    /// One truth value per row.
    pub fn bools(&self, mut row: impl FnMut(usize) -> DfResult<Option<bool>>) -> DfResult<ArrayRef> {
        let values: DfResult<BooleanArray> = (0..self.rows).map(&mut row).collect();
        Ok(Arc::new(values?))
    }
}

/// The value at `at`, unless NULL.
pub(super) fn value<A: arrow::array::ArrayAccessor>(array: A, at: usize) -> Option<A::Item> {
    array.is_valid(at).then(|| array.value(at))
}
