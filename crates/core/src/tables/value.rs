//! What a parameter or a column may hold, and how the usual types become one.

use crate::ids::{BatchId, JobId, NodeId, ProjectId, ScheduleId};
use crate::json::Json;
use crate::time;
use jiff::Timestamp;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One value. There is no boolean (0 and 1) and no instant (microseconds since the epoch, see
/// [`At`]): both databases store these four and mean the same by them.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// INTEGER: 64 bits.
    Int(i64),
    /// REAL: 64 bits, finite.
    Real(f64),
    /// TEXT: any UTF-8 but the character NUL.
    Text(String),
    /// BLOB.
    Blob(Vec<u8>),
}

impl Value {
    /// What it is, for error texts: its content may be a secret.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "NULL",
            Value::Int(_) => "an integer",
            Value::Real(_) => "a real number",
            Value::Text(_) => "a text",
            Value::Blob(_) => "bytes",
        }
    }

    /// About how much memory and wire it takes.
    pub fn size(&self) -> usize {
        match self {
            Value::Null | Value::Int(_) | Value::Real(_) => 8,
            Value::Text(t) => 8 + t.len(),
            Value::Blob(b) => 8 + b.len(),
        }
    }

    /// What one of the databases could not hold.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        match self {
            Value::Real(x) if !x.is_finite() => Err("is not a finite number; bind None instead"),
            Value::Text(t) if t.contains('\0') => Err("contains the character NUL; bind it as bytes"),
            _ => Ok(()),
        }
    }
}

/// What can be bound to a statement. The error says why a value cannot, without telling it.
pub trait IntoValue {
    /// The value.
    fn into_value(self) -> Result<Value, String>;
}

macro_rules! into_value {
    ($($from:ty, $it:ident => $to:expr;)*) => { $(
        impl IntoValue for $from {
            fn into_value(self) -> Result<Value, String> {
                let $it = self;
                Ok($to)
            }
        }
    )* };
}

into_value! {
    Value, it => it;
    i64, it => Value::Int(it);
    i32, it => Value::Int(it.into());
    i16, it => Value::Int(it.into());
    u32, it => Value::Int(it.into());
    u16, it => Value::Int(it.into());
    u8, it => Value::Int(it.into());
    bool, it => Value::Int(it.into());
    f64, it => Value::Real(it);
    String, it => Value::Text(it);
    &String, it => Value::Text(it.clone());
    &str, it => Value::Text(it.into());
    Vec<u8>, it => Value::Blob(it);
    &[u8], it => Value::Blob(it.into());
    Json, it => Value::Text(it.as_str().into());
    &Json, it => Value::Text(it.as_str().into());
    Timestamp, it => Value::Int(time::micros(it));
    At, it => Value::Int(time::micros(it.0));
    ProjectId, it => Value::Int(it.0);
    JobId, it => Value::Int(it.0);
    ScheduleId, it => Value::Int(it.0);
    BatchId, it => Value::Int(it.0);
    NodeId, it => Value::Int(it.0);
}

fn large<T: TryInto<i64>>(n: T) -> Result<Value, String> {
    n.try_into().map(Value::Int).map_err(|_| "is larger than an INTEGER can be (64 bits, signed)".into())
}

impl IntoValue for u64 {
    fn into_value(self) -> Result<Value, String> {
        large(self)
    }
}

impl IntoValue for usize {
    fn into_value(self) -> Result<Value, String> {
        large(self)
    }
}

impl<const N: usize> IntoValue for &[u8; N] {
    fn into_value(self) -> Result<Value, String> {
        Ok(Value::Blob(self.to_vec()))
    }
}

impl<T: IntoValue> IntoValue for Option<T> {
    fn into_value(self) -> Result<Value, String> {
        self.map_or(Ok(Value::Null), IntoValue::into_value)
    }
}

/// An instant in an INTEGER column, as microseconds since the epoch. For fields of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At(pub Timestamp);

impl Serialize for At {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_i64(time::micros(self.0))
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<At, D::Error> {
        let us = i64::deserialize(d)?;
        Timestamp::from_microsecond(us)
            .map(At)
            .map_err(|_| D::Error::custom("is not an instant in microseconds since the epoch"))
    }
}

/// A value kept as JSON in a TEXT column: to bind, and for fields of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AsJson<T>(pub T);

impl<T: Serialize> IntoValue for AsJson<T> {
    fn into_value(self) -> Result<Value, String> {
        let text = serde_json::to_string(&self.0);
        text.map(Value::Text).map_err(|_| "cannot be written as JSON (are all keys texts?)".into())
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for AsJson<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<AsJson<T>, D::Error> {
        let text = String::deserialize(d)?;
        // The error's own text may show what stands there.
        serde_json::from_str(&text).map(AsJson).map_err(|e| {
            let what = if e.is_data() { "JSON of another shape" } else { "no JSON" };
            D::Error::custom(format!("is {what} (line {} column {})", e.line(), e.column()))
        })
    }
}
