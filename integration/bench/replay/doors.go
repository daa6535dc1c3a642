package replay

import (
	"fmt"
	"io"
	"net"
	"strings"
)

// The APIs besides chat completions, which are streamed only.
const (
	Messages  = "messages"
	Responses = "responses"
)

// events are those of a stream: before the words, with a word, and after them.
type events struct{ before, word, after []string }

// play sends a stream.
func play(conn net.Conn, script Script, e events) error {
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
	if _, err := io.WriteString(conn, head+typed(e.before)); err != nil {
		return err
	}
	if err := words(conn, script, typed(e.word)); err != nil {
		return err
	}
	_, err := io.WriteString(conn, typed(e.after)+"0\r\n\r\n")
	return err
}

// typed returns events with the type that their data begin with.
func typed(list []string) string {
	var b strings.Builder
	for _, data := range list {
		typ, _, _ := strings.Cut(strings.TrimPrefix(data, `{"type":"`), `"`)
		b.WriteString(frame("event: " + typ + "\ndata: " + data))
	}
	return b.String()
}

func messageEvents(model string, s Script) events {
	return events{
		[]string{
			fmt.Sprintf(`{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":%q,"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":20,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}}}`, model),
			`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
		},
		[]string{`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"` + Mark + unstamped + `"}}`},
		[]string{
			`{"type":"content_block_stop","index":0}`,
			fmt.Sprintf(`{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":%d}}`, s.Chunks),
			`{"type":"message_stop"}`,
		},
	}
}

func responseEvents(model string, s Script) events {
	response := func(status, more string) string {
		return fmt.Sprintf(`{"id":"resp_1","object":"response","created_at":1700000000,"status":%q,"model":%q,"output":[],"store":false%s}`, status, model, more)
	}
	return events{
		[]string{
			`{"type":"response.created","sequence_number":0,"response":` + response("in_progress", "") + `}`,
			`{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"id":"msg_1","type":"message","status":"in_progress","role":"assistant","content":[]}}`,
			`{"type":"response.content_part.added","sequence_number":2,"item_id":"msg_1","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[]}}`,
		},
		[]string{`{"type":"response.output_text.delta","sequence_number":3,"item_id":"msg_1","output_index":0,"content_index":0,"delta":"` + Mark + unstamped + `","logprobs":[]}`},
		[]string{
			`{"type":"response.completed","sequence_number":4,"response":` + response("completed", fmt.Sprintf(`,"usage":{"input_tokens":20,"output_tokens":%d,"total_tokens":%d}`, s.Chunks, 20+s.Chunks)) + `}`,
		},
	}
}
