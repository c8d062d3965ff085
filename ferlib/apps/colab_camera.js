// Shows the browser's camera and a button in a Colab cell; gives the picture as a data URL when the button is pressed.
(async () => {
  const box = document.body.appendChild(document.createElement("div"));
  box.innerHTML = "<video></video><button>Take the picture</button>";
  const [video, button] = box.children;
  video.srcObject = await navigator.mediaDevices.getUserMedia({video: true});
  await video.play();
  google.colab.output.setIframeHeight(document.documentElement.scrollHeight, true);
  await new Promise(done => button.onclick = done);
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  video.srcObject.getVideoTracks()[0].stop();
  box.remove();
  return canvas.toDataURL("image/jpeg", 0.95);
})()
