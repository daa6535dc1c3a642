package apierror

import (
	"net/http"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/record"
)

// The server reads what is left of a body before it writes the header of an
// answer, up to maxDrain bytes, so that the connection can be used again and
// clients that send before they read get the answer. It would wait for a client
// that sends nothing. So an answer to a body that is not worth reading closes the
// connection, which makes the header leave at once.

// maxDrain is what net/http reads of a body that nothing has read.
const maxDrain = 256 << 10

// What a refused client may still send before its connection closes. A reset
// would lose the answer to a client that reads only after it has sent.
const (
	lingerTime    = 10 * time.Second
	lingerSilence = time.Second
	lingerBytes   = 256 << 20
)

// leavesBody reports whether a failure leaves a body that the server should not
// wait for. Only HTTP/1 has to read one before it answers.
func (e *Error) leavesBody(r *http.Request, rec *record.Record) bool {
	if r.ProtoMajor != 1 || r.ContentLength == 0 {
		return false
	}
	return e.BodyUnread || rec != nil && !rec.BodyRead && r.ContentLength > maxDrain
}

// linger sends what was written, and drops what the client still sends.
func linger(w http.ResponseWriter, r *http.Request) {
	record.OpenGates(r) // what is dropped lets nothing in
	rc := http.NewResponseController(w)
	if rc.Flush() != nil {
		return
	}
	end := time.Now().Add(lingerTime)
	buf := make([]byte, 32<<10)
	for n := 0; n < lingerBytes; {
		until := time.Now().Add(lingerSilence)
		if until.After(end) {
			until = end
		}
		if rc.SetReadDeadline(until) != nil {
			return
		}
		m, err := r.Body.Read(buf)
		if n += m; err != nil {
			return
		}
	}
}
