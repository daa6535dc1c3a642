// Package replay is the upstream of the benchmark: a scripted server with OpenAI's
// API. The script is the model's name, so that it passes through every proxy.
package replay

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// Serve answers all connections until the listener is closed. It implements HTTP
// itself, at a fraction of net/http's cost, because the upstream takes CPU time
// from the proxy.
func Serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			_ = serve(conn)
		}()
	}
}

// serve answers the requests of one connection until its client closes it.
func serve(conn net.Conn) error {
	r := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return err
		}
		if err := answer(conn, r, req.URL.Path, body); err != nil {
			return err
		}
	}
}

func answer(conn net.Conn, r *bufio.Reader, path string, body []byte) error {
	model := gjson.GetBytes(body, "model").String()
	script, err := Parse(model)
	if err != nil {
		return refuse(conn, err)
	}
	if !gjson.GetBytes(body, "stream").Bool() {
		return document(conn, model, script)
	}
	switch {
	case strings.HasSuffix(path, "/"+Messages):
		return play(conn, script, messageEvents(model, script))
	case strings.HasSuffix(path, "/"+Responses):
		return play(conn, script, responseEvents(model, script))
	}
	asked := gjson.GetBytes(body, "stream_options.include_usage").Bool()
	return stream(conn, r, model, script, asked)
}

func refuse(conn net.Conn, why error) error {
	body := fmt.Sprintf(`{"error":{"message":%q}}`, why)
	_, err := fmt.Fprintf(conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	return err
}

// document sends the whole answer at once.
func document(conn net.Conn, model string, script Script) error {
	body := fmt.Sprintf(`{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":%q,"choices":[{"index":0,"message":{"role":"assistant","content":"%s","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":%s,"service_tier":"default","system_fingerprint":"fp_1"}`,
		model, bytes.Repeat([]byte(" ~word"), script.Chunks), usage(script))
	_, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	return err
}

func usage(script Script) string {
	return fmt.Sprintf(`{"prompt_tokens":20,"completion_tokens":%d,"total_tokens":%d}`, script.Chunks, 20+script.Chunks)
}

// stream sends one chunk per write.
func stream(conn net.Conn, r *bufio.Reader, model string, script Script, asked bool) error {
	null := ""
	if asked && script.NullUsage {
		null = `,"usage":null`
	}
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" +
		event(model, `{"role":"assistant","content":"","refusal":null}`, "null", null)
	if _, err := io.WriteString(conn, head); err != nil {
		return err
	}

	if err := words(conn, script, event(model, `{"content":"`+Mark+unstamped+`"}`, "null", null)); err != nil {
		return err
	}
	if script.Held {
		_, err := r.Peek(1) // until the other side closes
		return err
	}

	tail := event(model, `{}`, `"stop"`, null)
	if asked {
		tail += frame(fmt.Sprintf(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":%q,"choices":[],"usage":%s}`, model, usage(script)))
	}
	tail += frame("data: [DONE]") + "0\r\n\r\n"
	_, err := io.WriteString(conn, tail)
	return err
}

// words sends the chunks with a word each.
func words(conn net.Conn, script Script, frame string) error {
	chunk := newStamped(frame)
	begun := time.Now()
	for i := range script.Chunks {
		time.Sleep(time.Until(begun.Add(time.Duration(i) * script.Gap)))
		if _, err := conn.Write(chunk.now()); err != nil {
			return err
		}
	}
	return nil
}

// event returns a chunk of the answer, as OpenAI writes it.
func event(model, delta, finish, null string) string {
	return frame(fmt.Sprintf(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":%q,"service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":%s,"logprobs":null,"finish_reason":%s}]%s}`,
		model, delta, finish, null))
}

// frame returns a line as an event in a chunk of HTTP/1.1.
func frame(line string) string {
	return fmt.Sprintf("%x\r\n%s\n\n\r\n", len(line)+2, line)
}
