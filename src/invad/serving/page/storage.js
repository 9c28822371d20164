// What the browser keeps for the page. Where it lets pages keep nothing, a variable does until the page is closed.

function kept(name) {
  const here = new Map();
  return {
    get(key) {
      if (here.has(key)) return here.get(key);
      try {
        return window[name].getItem(key);
      } catch {
        return null;
      }
    },
    set(key, value) {
      try {
        window[name].setItem(key, value);
        here.delete(key);
      } catch {
        here.set(key, value);
      }
    },
    remove(key) {
      here.delete(key);
      try {
        window[name].removeItem(key);
      } catch {
        // then it holds nothing either
      }
    },
  };
}

// For good, and until the tab is closed. Only asking for them may raise already, so each use does it anew.
export const local = kept("localStorage");
export const session = kept("sessionStorage");
