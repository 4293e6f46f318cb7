//! Alert rules over real stores, by a clock that moves only when told: each sort of rule fires and
//! recovers, once however many nodes look, and a backtest says what really happened.

mod acts;
mod conditions;
mod history;
mod idle;
mod node;
mod scene;
