package aigateway

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

const (
	// listTTL is how long a provider's list of models is good for. After that
	// it is asked again in the background.
	listTTL = 5 * time.Minute

	// listRetry is the pause after a failure.
	listRetry = 30 * time.Second

	// listWait is how long a request waits for a first list.
	listWait = 2 * time.Second

	// listTimeout bounds one call.
	listTimeout = 10 * time.Second

	// maxLists is how many lists are kept. Tenants with credentials of their
	// own have lists of their own.
	maxLists = 1000
)

// modelLists are the models that providers list. They are asked once in a while,
// and never by more than one request at once.
type modelLists struct {
	log *zap.Logger

	mu    sync.Mutex
	byKey map[listKey]*modelNames
}

type listKey struct{ provider, credential string }

// modelNames is the list of one provider for one credential.
type modelNames struct {
	names   []string  // of the last call that succeeded
	due     time.Time // of the next call
	running *listCall // nil without one
}

// listCall is a call that runs.
type listCall struct {
	until time.Time // how long requests wait for it
	done  chan struct{}
}

func newModelLists(log *zap.Logger) *modelLists {
	return &modelLists{log: log, byKey: make(map[listKey]*modelNames)}
}

// of returns the models of a provider, as far as they are known.
func (l *modelLists) of(ctx context.Context, name string, from provider.Lister, preq *provider.Request) []string {
	key := listKey{name, preq.APIKey}
	names, call := l.look(key, from, preq)
	if names != nil || call == nil {
		return names
	}
	wait := time.NewTimer(time.Until(call.until))
	defer wait.Stop()
	select {
	case <-call.done:
	case <-wait.C:
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if kept := l.byKey[key]; kept != nil {
		return kept.names
	}
	return nil
}

// look returns the list as it is kept, and the running call if any. It starts one
// if the list is due.
func (l *modelLists) look(key listKey, from provider.Lister, preq *provider.Request) ([]string, *listCall) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.byKey[key]
	if kept == nil {
		if len(l.byKey) >= maxLists {
			clear(l.byKey)
		}
		kept = new(modelNames)
		l.byKey[key] = kept
	}
	if kept.running == nil && !now.Before(kept.due) {
		kept.running = &listCall{now.Add(listWait), make(chan struct{})}
		go l.ask(key.provider, kept, kept.running, from, preq)
	}
	return kept.names, kept.running
}

// ask makes the call. A failure keeps the last list.
func (l *modelLists) ask(name string, kept *modelNames, call *listCall, from provider.Lister, preq *provider.Request) {
	defer close(call.done)
	// the list is for later requests too
	ctx, cancel := context.WithTimeout(context.Background(), listTimeout)
	defer cancel()
	names, err := from.Models(ctx, preq)
	if err != nil && reasonOf(err) != provider.ReasonUnsupported {
		l.log.Warn("asking a provider for its models", zap.String("provider", name), zap.Error(err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	kept.running, kept.due = nil, time.Now().Add(listRetry)
	if err == nil {
		kept.names, kept.due = slices.Compact(names), time.Now().Add(listTTL)
	}
}
