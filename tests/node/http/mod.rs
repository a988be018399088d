//! The HTTP surface: publishing, history, rooms, the node's state, and every error.

mod history;
mod open_api;
mod publishing;
mod refusals;
mod state;

const EVENTS: &str = "/v1/rooms/lobby/events";
const JSON: &str = "application/json";
