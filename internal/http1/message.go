package http1

import (
	"errors"
	"net/http"
)

// Message is the Body of a request that has been written already, head and all:
// whoever sends many alike writes what they share once. The request's Header is
// not looked at; its URL says where the message goes. A Transport sends only messages of requests that it would
// send itself, see Sends; other transports cannot send them at all.
type Message struct{ Wire []byte }

// MaxMessage is the longest Message, in bytes.
const MaxMessage = maxBody

// Read says that a message is not for reading.
func (m *Message) Read([]byte) (int, error) {
	return 0, errors.New("http1: a written message is sent whole")
}

// Close does nothing: a message can be sent again.
func (m *Message) Close() error { return nil }

// Len is how many bytes are sent.
func (m *Message) Len() int { return len(m.Wire) }

// Sends reports whether the transport sends requests like this itself, and so a Message to the same place.
func (t *Transport) Sends(req *http.Request) bool { return t.plain(req) }

// AppendTarget begins a message: with the request line and the host of a
// request that the transport Sends.
func AppendTarget(b []byte, req *http.Request) ([]byte, error) {
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	uri := req.URL.RequestURI()
	if !isValue(uri) || !isPlainHost(host) {
		return b, errors.New("http1: the address of the request cannot be sent")
	}
	b = append(b, req.Method...)
	b = append(b, ' ')
	b = append(b, uri...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	return append(b, '\r', '\n'), nil
}

// ValidHeader reports whether a name and a value can be a line of a header.
func ValidHeader(name, value string) bool { return isToken(name) && isValue(value) }
