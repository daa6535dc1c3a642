package chat

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

const (
	// lookInterval is how often all tenant files are looked at, for changes that
	// the system does not report, such as those on network file systems.
	lookInterval = 2 * time.Minute

	// quietTime is how long the files have to be left alone before they are read:
	// writing one takes several steps.
	quietTime = 100 * time.Millisecond

	// mostDelay is how long a change may wait for quietTime.
	mostDelay = 500 * time.Millisecond
)

// tenantWatch reads tenant files again when they change.
type tenantWatch struct {
	files *tenantFiles
	log   *zap.Logger
	apply func(*tenant.Registry, []fileFailure)

	system  *fsnotify.Watcher // nil if the system does not report changes
	events  <-chan fsnotify.Event
	errors  <-chan error
	folders map[string]bool // that are watched
	targets map[string]bool // those of them that links lead to
	refused bool            // a folder could not be watched, which was logged

	// What has changed and was not read yet.
	names map[string]bool
	all   bool

	quit, done chan struct{}
}

func (a *App) watchFiles() *tenantWatch {
	w := &tenantWatch{
		files: a.files,
		log:   a.log,
		apply: a.applyFiles,
		names: make(map[string]bool),
		quit:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	system, err := fsnotify.NewWatcher()
	if err != nil {
		w.unwatched(err)
	} else {
		w.system, w.events, w.errors = system, system.Events, system.Errors
	}
	go w.run()
	return w
}

func (w *tenantWatch) stop() {
	close(w.quit)
	<-w.done
}

// unwatched logs that changes are found by looking only.
func (w *tenantWatch) unwatched(err error) {
	if !w.refused {
		w.log.Warn("tenant files cannot be watched; changes count after the next look at all of them",
			zap.Duration("interval", lookInterval), zap.Error(err))
	}
	w.refused = true
}

// run reads what has changed, once it is left alone.
func (w *tenantWatch) run() {
	defer close(w.done)
	if w.system != nil {
		defer w.system.Close()
	}
	regular := time.NewTicker(lookInterval)
	defer regular.Stop()
	settled := time.NewTimer(0) // the files may have changed since they were read
	defer settled.Stop()
	w.all = true
	var since time.Time // of the first change that was not read; zero without one
	for {
		select {
		case <-w.quit:
			return
		case <-regular.C:
			w.all, since = true, time.Time{}
			w.look()
			continue
		case <-settled.C:
			since = time.Time{}
			w.look()
			continue
		case ev := <-w.events:
			w.note(filepath.Clean(ev.Name))
		case err := <-w.errors:
			w.log.Warn("watching the tenant files", zap.Error(err))
			w.all = true // events were lost
		}
		if !w.all && len(w.names) == 0 {
			continue
		}
		if since.IsZero() {
			since = time.Now()
		}
		settled.Reset(max(0, min(quietTime, time.Until(since.Add(mostDelay)))))
	}
}

// look reads what has changed.
func (w *tenantWatch) look() {
	all, names := w.all, slices.Sorted(maps.Keys(w.names))
	w.all = false
	clear(w.names)
	switch {
	case all:
		w.watchFolders() // before the look, so that no change is missed in between
		for _, name := range names {
			w.files.lookAt(name, true)
		}
		w.apply(w.files.lookAtAll())
		w.watchTargets()
	case len(names) > 0:
		w.apply(w.files.lookAtThese(names))
		w.watchTargets()
	}
}

// note notes an event in one of the folders.
func (w *tenantWatch) note(name string) {
	switch {
	case w.files.matches(name):
		w.names[name] = true
	case w.concerns(name):
		w.all = true
	}
}

// concerns reports whether an event of a name that no pattern matches can change
// which files there are, or what a link leads to.
func (w *tenantWatch) concerns(name string) bool {
	if w.targets[filepath.Dir(name)] {
		return true
	}
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return w.leadsTo(name)
	}
	return err != nil || !info.Mode().IsRegular()
}

// leadsTo reports whether a name is that of a watched folder or of one above it.
func (w *tenantWatch) leadsTo(name string) bool {
	for dir := range w.folders {
		if dir == name || strings.HasPrefix(dir, name+string(filepath.Separator)) {
			return true
		}
	}
	return false
}

// watchFolders watches all folders in which tenant files may appear, also those
// that are still to come.
func (w *tenantWatch) watchFolders() {
	wanted := w.files.folders()
	for dir := range w.targets {
		wanted[dir] = true
	}
	w.watch(wanted)
}

// watchTargets watches the folders that links lead to.
func (w *tenantWatch) watchTargets() {
	targets := w.files.targets()
	if maps.Equal(targets, w.targets) {
		return
	}
	w.targets = targets
	w.watchFolders()
}

func (w *tenantWatch) watch(wanted map[string]bool) {
	for dir := range w.folders {
		if !wanted[dir] && w.system != nil {
			_ = w.system.Remove(dir) // it may be gone
		}
	}
	w.folders = wanted
	if w.system == nil {
		return
	}
	for dir := range wanted {
		// a folder that was replaced has to be added again
		if err := w.system.Add(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.unwatched(err)
		}
	}
}

// folders returns the folders whose events tell of tenant files that come, go or
// change.
func (f *tenantFiles) folders() map[string]bool {
	list := make(map[string]bool)
	for _, pattern := range f.patterns {
		for ; ; pattern = filepath.Dir(pattern) {
			for _, dir := range f.foldersOf(pattern) {
				addFolder(list, dir)
			}
			if !hasWildcard(filepath.Dir(pattern)) {
				break
			}
		}
	}
	return list
}

// addFolder adds a folder or, if it does not exist, the one above it. A link on the
// way may be replaced, which is an event of the folder that it is in.
func addFolder(list map[string]bool, dir string) {
	if isFolder(dir) {
		list[dir] = true
	}
	for parent := filepath.Dir(dir); parent != dir; dir, parent = parent, filepath.Dir(parent) {
		info, err := os.Lstat(dir)
		if (err != nil || info.Mode()&fs.ModeSymlink != 0) && isFolder(parent) {
			list[parent] = true
		}
	}
}

func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// targets returns the folders that the links among the files lead to.
func (f *tenantFiles) targets() map[string]bool {
	list := make(map[string]bool)
	for _, e := range f.byName {
		if e.target != "" {
			list[e.target] = true
		}
	}
	return list
}
