package chatsession

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
)

// message is the body of POST /chat.
type message struct {
	SessionID *string `json:"sessionId"`
	Message   *string `json:"message"`
	Stream    *bool   `json:"stream"`
	ModelID   *string `json:"modelId"`
	UserID    *string `json:"userId"`

	body []byte // all of it
}

// readMessage reads and checks the body, and notes the session and the user
// in the record.
func (h *Handler) readMessage(x *exchange) (*message, error) {
	body, err := chat.ReadBody(x.R, h.MaxBody)
	if err != nil {
		return nil, err
	}
	m, err := parseMessage(body, h.MaxMessageChars)
	if err != nil {
		return nil, err
	}
	m.body = body
	x.Rec.Session = *m.SessionID
	if m.UserID != nil && x.Rec.User == record.Anonymous {
		x.Rec.User = *m.UserID
	}
	return m, nil
}

// parseMessage reads a body that is one JSON object, and checks every field
// of it. SessionID, Message and Stream are set in what it returns.
func parseMessage(body []byte, maxChars int) (*message, error) {
	m := new(message)
	if err := json.Unmarshal(body, m); err != nil {
		return nil, badField(err)
	}
	if m.SessionID == nil {
		return nil, apierror.InvalidRequest("sessionId", "required, a UUID")
	}
	id, ok := canonicalID(*m.SessionID)
	if !ok {
		return nil, apierror.InvalidRequest("sessionId", "want a UUID")
	}
	m.SessionID = &id
	if m.Message == nil {
		return nil, apierror.InvalidRequest("message", "required, a string")
	}
	if n := utf8.RuneCountInString(*m.Message); n < 1 || n > maxChars {
		return nil, apierror.InvalidRequest("message", fmt.Sprintf("want 1 to %d characters, not %d", maxChars, n))
	}
	if m.Stream == nil {
		m.Stream = new(true)
	}
	if m.ModelID != nil && *m.ModelID == "" {
		return nil, apierror.InvalidRequest("modelId", "want the name of a model, or leave it out")
	}
	if m.UserID != nil && !chat.ValidUser(*m.UserID) {
		return nil, apierror.InvalidRequest("userId", "want 1 to 128 characters, no control characters")
	}
	return m, nil
}

var fieldTypes = map[string]string{
	"sessionId": "want a string, a UUID",
	"message":   "want a string",
	"stream":    "want true or false",
	"modelId":   "want a string",
	"userId":    "want a string",
}

// badField names the field that a decoding error is about.
func badField(err error) error {
	semantic, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return apierror.InvalidJSON(err)
	}
	field := strings.TrimPrefix(string(semantic.JSONPointer), "/")
	want, known := fieldTypes[field]
	if !known {
		return apierror.InvalidRequest("body", "want a JSON object")
	}
	return apierror.InvalidRequest(field, want)
}
