// A run that is drawn anew before the browser answers sends a file again; it is saved once.
const saved = new Set();

export default function (component) {
  const { data, setTriggerValue } = component;
  if (!saved.has(data.id)) {
    saved.add(data.id);
    const bytes = Uint8Array.from(atob(data.content), (letter) => letter.charCodeAt(0));
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([bytes], { type: data.mime }));
    link.download = data.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }
  setTriggerValue('saved', data.id);
}
