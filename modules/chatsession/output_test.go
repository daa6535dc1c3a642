package chatsession

import (
	"encoding/json"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// TestPublished has turns of which an event could not be published: those who
// follow do not take the answer for whole.
func TestPublished(t *testing.T) {
	x := &chat.Exchange{Rec: &record.Record{TraceID: "trace-1"}}
	o := &output{t: &turn{x: x}}
	done := store.Event{N: 7, Kind: eventDone, Data: []byte("{}")}
	failed := []store.Event{{N: 6, Kind: eventError, Data: []byte("{}")}, done}

	if got := o.published([]store.Event{done}, usage{}); len(got) != 1 || got[0].Kind != eventDone {
		t.Errorf("a whole answer ends with %v", got)
	}
	o.gap = true
	if got := o.published(failed, usage{}); len(got) != 2 || got[0].N != 6 {
		t.Errorf("a failed answer ends with %v", got)
	}
	got := o.published([]store.Event{done}, usage{})
	if len(got) != 2 || got[0].Kind != eventError || got[1].Kind != eventDone || got[0].N != 7 || got[1].N != 8 {
		t.Fatalf("an answer with a gap ends with %v", got)
	}
	var e errorEvent
	if err := json.Unmarshal(got[0].Data, &e); err != nil || e.Code != "storage_unavailable" || e.TraceID != "trace-1" {
		t.Errorf("%s, %v", got[0].Data, err)
	}
	var d doneEvent
	if err := json.Unmarshal(got[1].Data, &d); err != nil || d.FinishReason != finishError {
		t.Errorf("%s, %v", got[1].Data, err)
	}
}
