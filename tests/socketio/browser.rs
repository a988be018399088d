//! A page in a real browser, which keeps the rules that Node.js does not know: CORS, origins, its own WebSocket.

use serde_json::json;

use crate::kit::{KINDS, Stock, TestNode, numbered_name};

#[tokio::test]
async fn a_page_of_this_machine_is_served() {
    let (node, stock) = (TestNode::start().await, Stock::start_browser("127.0.0.1"));
    for kind in KINDS {
        let room = numbered_name("room");
        let mut client = stock.connected(node.address, kind).await;
        client.join(&room).await;
        let data = json!({"bytes": {"$binary": "AAEC/w=="}, "text": "é"});
        let ask = json!([{"room": room, "event": "note", "data": data}]);
        client.ask_ok("publish", ask).await;
        assert_eq!(client.event().await.data(), &data, "{kind:?}");
        node.publish(&room, "note", 2).await;
        assert_eq!(client.event().await.data(), 2, "{kind:?}");
        client.disconnect();
        assert_eq!(client.disconnected().await, "io client disconnect", "{kind:?}");
    }
}

#[tokio::test]
async fn a_page_from_elsewhere_is_refused() {
    let (node, stock) = (TestNode::start().await, Stock::start_browser("elsewhere.test"));
    for kind in KINDS {
        let mut client = stock.client(node.address, kind);
        let (message, _) = client.refused().await;
        let wanted = ["xhr poll error", "websocket error"];
        assert!(wanted.contains(&&*message), "{kind:?}: {message}");
    }
}
