package aigateway

import (
	"strings"
	"testing"
)

// FuzzEventJudge checks that a stream passes as it came, in whichever pieces, and that a
// failure behind it is found.
func FuzzEventJudge(f *testing.F) {
	f.Add("data: one\n\ndata: two\n\n", uint8(1))
	f.Add("event: x\r\ndata: one\r\n\r\n: comment\r\n\r\ndata: [DONE]\r\n\r\n", uint8(3))
	f.Add("data: "+strings.Repeat("A", 3*maxJudged)+"\n\ndata: two", uint8(250))
	f.Fuzz(func(t *testing.T, stream string, size uint8) {
		var whole eventJudge
		if _, failure := whole.judge([]byte(stream), true); failure != nil {
			t.Skip("it is a failure")
		}
		var j eventJudge
		var out []byte
		for rest := stream + "\n\n"; rest != ""; {
			n := min(len(rest), int(size)*int(size)+1)
			sent, failure := j.judge([]byte(rest[:n]), n == len(rest))
			if failure != nil {
				t.Fatalf("in pieces it is a failure: %v", failure)
			}
			out, rest = append(out, sent...), rest[n:]
			if len(j.event)+len(j.line) > maxJudged+n {
				t.Fatalf("%d bytes are held back", len(j.event)+len(j.line))
			}
		}
		if string(out) != stream+"\n\n" {
			t.Fatalf("%q came out as %q", stream, out)
		}
		var k eventJudge
		sent, failure := k.judge([]byte(stream+"\n\ndata: {\"error\":{\"message\":\"secret\"}}\n\n"), false)
		if failure == nil || strings.Contains(string(sent), "secret") {
			t.Errorf("a failure behind it is not found: %q", sent)
		}
	})
}
