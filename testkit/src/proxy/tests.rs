use super::*;
use crate::eventually;

/// Starts a server that echoes each byte.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (mut from, mut to) = stream.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
        }
    });
    address
}

async fn ask(stream: &mut TcpStream, question: u8) -> Option<u8> {
    stream.write_all(&[question]).await.ok()?;
    stream.read_u8().await.ok()
}

#[tokio::test]
async fn a_cut_link_closes_what_is_open_and_a_healed_one_lets_new_connections_through() {
    let proxy = Proxy::before(echo().await).await;
    let mut stream = TcpStream::connect(proxy.address()).await.expect("a connection");
    assert_eq!(ask(&mut stream, 7).await, Some(7));
    assert_eq!(proxy.round_trips(), 1);
    proxy.cut();
    assert_eq!(ask(&mut stream, 8).await, None);
    eventually("the connection is closed", Duration::from_secs(10), async || {
        proxy.connections() == 0
    })
    .await;
    proxy.heal();
    let mut stream = TcpStream::connect(proxy.address()).await.expect("a connection");
    assert_eq!(ask(&mut stream, 9).await, Some(9));
}

#[tokio::test]
async fn a_hung_link_delivers_what_was_asked_once_it_is_healed() {
    let proxy = Proxy::before(echo().await).await;
    let mut stream = TcpStream::connect(proxy.address()).await.expect("a connection");
    assert_eq!(ask(&mut stream, 1).await, Some(1));
    proxy.hang();
    let healing = async {
        tokio::task::yield_now().await;
        proxy.heal();
    };
    let (answer, ()) = tokio::join!(ask(&mut stream, 2), healing);
    assert_eq!(answer, Some(2));
}

#[tokio::test]
async fn swallowed_replies_never_come_and_their_connections_end() {
    let proxy = Proxy::before(echo().await).await;
    let mut stream = TcpStream::connect(proxy.address()).await.expect("a connection");
    assert_eq!(ask(&mut stream, 1).await, Some(1));
    proxy.swallow_replies();
    stream.write_all(&[3]).await.expect("the request goes out");
    proxy.heal();
    assert!(stream.read_u8().await.is_err());
}
