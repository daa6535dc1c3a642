package chatsession

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

const (
	defaultPage = 50
	maxPage     = 1000
)

type historyPage struct {
	SessionID  string         `json:"sessionId"`
	Messages   []shownMessage `json:"messages"`
	NextBefore string         `json:"nextBefore,omitempty"`
}

type shownMessage struct {
	ID         string `json:"id"`
	Role       string `json:"role"`
	Content    string `json:"content"`
	Timestamp  int64  `json:"timestamp"` // epoch milliseconds
	TokenCount int    `json:"tokenCount"`
	ModelID    string `json:"modelId,omitempty"`
	Status     string `json:"status"`

	// As in OpenAI's API: the calls that an assistant's message makes, and the
	// call that a tool's message answers.
	ToolCalls  json.RawMessage `json:"toolCalls,omitempty"`
	ToolCallID string          `json:"toolCallId,omitempty"`
}

type sessionPage struct {
	Sessions   []shownSession `json:"sessions"`
	NextBefore string         `json:"nextBefore,omitempty"`
}

type shownSession struct {
	SessionID    string `json:"sessionId"`
	Title        string `json:"title"`
	CreatedAt    int64  `json:"createdAt"` // epoch milliseconds
	UpdatedAt    int64  `json:"updatedAt"` // epoch milliseconds
	MessageCount int    `json:"messageCount"`
}

// history serves GET /chat/{sessionId}/history.
func (h *Handler) history(x *chat.Exchange) error {
	limit, err := pageLimit(x.R)
	if err != nil {
		return err
	}
	before, err := historyCursor(x.R.URL.Query().Get("before"))
	if err != nil {
		return err
	}
	page, err := h.messages(x, before, limit)
	if err == nil && before == 0 && page.unanswered() && h.endedLost(x) {
		page, err = h.messages(x, before, limit)
	}
	if err != nil {
		return err
	}
	return x.OK(page)
}

// messages returns a page of the session's messages.
func (h *Handler) messages(x *chat.Exchange, before uint64, limit int) (*historyPage, error) {
	page := &historyPage{SessionID: x.Rec.Session, Messages: []shownMessage{}}
	var oldest uint64
	for m, err := range newest(x.R.Context(), x, before) {
		if err != nil {
			return nil, h.storeError("history", err)
		}
		if m.Role == roleSystem {
			continue // for the model alone
		}
		if len(page.Messages) == limit {
			page.NextBefore = strconv.FormatUint(oldest, 10)
			break
		}
		page.Messages, oldest = append(page.Messages, shown(m)), m.Seq
	}
	slices.Reverse(page.Messages)
	return page, nil
}

// unanswered reports whether the newest message is not a whole answer. Only then may
// a turn be running whose node is gone, and the store has to be asked.
func (p *historyPage) unanswered() bool {
	if len(p.Messages) == 0 {
		return true
	}
	last := p.Messages[len(p.Messages)-1]
	return last.Role != roleAssistant || last.Status != store.StatusComplete
}

func shown(m *store.Message) shownMessage {
	s := shownMessage{
		ID:         m.ID,
		Role:       m.Role,
		Content:    m.Content,
		Timestamp:  m.Time.UnixMilli(),
		TokenCount: m.TokenCount,
		ModelID:    m.ModelID,
		Status:     m.Status,
		ToolCallID: resultOf(m),
	}
	if len(callsOf(m)) > 0 {
		s.ToolCalls = json.RawMessage(gjson.GetBytes(m.Raw, "tool_calls").Raw)
	}
	return s
}

// list serves GET /chat.
func (h *Handler) list(x *chat.Exchange) error {
	limit, err := pageLimit(x.R)
	if err != nil {
		return err
	}
	after, err := listCursor(x.R.URL.Query().Get("before"))
	if err != nil {
		return err
	}
	if x.Rec.User == record.Anonymous {
		// everyone without a name: the id of a session is its visitor's secret
		return x.OK(sessionPage{Sessions: []shownSession{}})
	}
	list, more, err := x.Store.Sessions(x.R.Context(), x.Rec.Tenant.ID, x.Rec.User, after, limit)
	if err == nil && h.endedLostOf(x, list) {
		list, more, err = x.Store.Sessions(x.R.Context(), x.Rec.Tenant.ID, x.Rec.User, after, limit)
	}
	if err != nil {
		return h.storeError("sessions", err)
	}
	page := sessionPage{Sessions: make([]shownSession, 0, len(list))}
	for _, s := range list {
		page.Sessions = append(page.Sessions, shownSession{
			s.ID, s.Title, s.CreatedAt.UnixMilli(), s.UpdatedAt.UnixMilli(), s.Messages,
		})
	}
	if more {
		last := list[len(list)-1]
		page.NextBefore = strconv.FormatInt(last.UpdatedAt.UnixMilli(), 10) + "_" + last.ID
	}
	return x.OK(page)
}

// remove serves DELETE /chat/{sessionId}. It cancels a running turn first, whose
// answer is then not stored because its session is gone.
func (h *Handler) remove(x *chat.Exchange) error {
	if err := h.exists(x); err != nil {
		return err
	}
	if _, err := x.Store.CancelTurn(x.R.Context(), x.Rec.Tenant.ID, sessionKey(x), ""); err != nil {
		return h.storeError("cancel", err)
	}
	if err := x.Store.Delete(x.R.Context(), x.Rec.Tenant.ID, sessionKey(x)); err != nil {
		return h.storeError("delete", err)
	}
	return x.OK(map[string]any{"sessionId": x.Rec.Session, "deleted": true})
}

// exists returns an error if the session does not exist.
func (h *Handler) exists(x *chat.Exchange) error {
	if _, _, err := x.Store.History(x.R.Context(), x.Rec.Tenant.ID, sessionKey(x), store.Range{Limit: 1}); err != nil {
		return h.storeError("history", err)
	}
	return nil
}

func pageLimit(r *http.Request) (int, error) {
	s := r.URL.Query().Get("limit")
	if s == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, apierror.InvalidRequest("limit", "want a whole number from 1 to 1000")
	}
	return min(n, maxPage), nil
}

// historyCursor parses the nextBefore of a history page: a message's number, or
// 0 without one.
func historyCursor(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 {
		return 0, apierror.InvalidRequest("before", "want the nextBefore of an earlier answer")
	}
	return n, nil
}

// listCursor parses the nextBefore of a list page: the time when a session was
// updated, and its id. It returns nil without one.
func listCursor(s string) (*store.Cursor, error) {
	if s == "" {
		return nil, nil
	}
	ms, id, ok := strings.Cut(s, "_")
	n, err := strconv.ParseInt(ms, 10, 64)
	if _, valid := canonicalID(id); !ok || err != nil || !valid {
		return nil, apierror.InvalidRequest("before", "want the nextBefore of an earlier answer")
	}
	return &store.Cursor{UpdatedAt: time.UnixMilli(n), ID: id}, nil
}
