//! The few things that FFmpeg's safe wrapper does not offer. Each function is safe to call: it takes
//! references that keep what it touches alive, and copies what it returns.

use ffmpeg_next::{
    codec, ffi, filter, format, frame,
    util::{error::EINVAL, rational::Rational},
};

type Result<T> = std::result::Result<T, ffmpeg_next::Error>;

/// A second reference to a picture; the pixels are shared and must not be written to.
pub(super) fn share(picture: &frame::Video) -> Result<frame::Video> {
    let mut shared = frame::Video::empty();
    // SAFETY: both frames are valid; the new one is blank and becomes another counted reference to the
    // same buffers, which FFmpeg counts atomically.
    let result = unsafe { ffi::av_frame_ref(shared.as_mut_ptr(), picture.as_ptr()) };
    if result < 0 { Err(result.into()) } else { Ok(shared) }
}

/// The codec's out-of-band headers; empty if there are none.
pub(super) fn extradata(context: &codec::Context) -> Vec<u8> {
    // SAFETY: the context is valid, and FFmpeg keeps `extradata_size` readable bytes at `extradata`.
    unsafe {
        let context = &*context.as_ptr();
        match usize::try_from(context.extradata_size) {
            Ok(len) if len > 0 && !context.extradata.is_null() => {
                std::slice::from_raw_parts(context.extradata, len).to_vec()
            }
            _ => Vec::new(),
        }
    }
}

/// Samples that an audio encoder puts before the first one given to it.
pub(super) fn initial_padding(context: &codec::Context) -> u32 {
    // SAFETY: the context is valid; a plain field is read.
    u32::try_from(unsafe { (*context.as_ptr()).initial_padding }).unwrap_or(0)
}

/// Width and height that a stream announces; 0 if it doesn't.
pub(super) fn picture_size(parameters: &codec::Parameters) -> (u32, u32) {
    // SAFETY: the parameters are valid; plain fields are read.
    let (width, height) = unsafe {
        let parameters = &*parameters.as_ptr();
        (parameters.width, parameters.height)
    };
    (u32::try_from(width).unwrap_or(0), u32::try_from(height).unwrap_or(0))
}

/// The shape of a stream's pixels; 1 if unknown.
pub(super) fn sample_aspect(input: &mut format::context::Input, index: usize) -> Rational {
    let Some(stream) = input.stream(index).map(|stream| {
        // SAFETY: the pointer is used below while `input`, which owns the stream, is borrowed.
        unsafe { stream.as_ptr() }
    }) else {
        return Rational::new(1, 1);
    };
    // SAFETY: context and stream are valid and belong together; no frame is given.
    let ratio: Rational = unsafe {
        ffi::av_guess_sample_aspect_ratio(input.as_mut_ptr(), stream.cast_mut(), std::ptr::null_mut()).into()
    };
    if ratio.numerator() > 0 && ratio.denominator() > 0 { ratio } else { Rational::new(1, 1) }
}

/// Makes the demuxer drop the packets of all streams but these.
pub(super) fn keep_only(input: &mut format::context::Input, keep: &[usize]) {
    for mut stream in input.streams_mut() {
        let discard = if keep.contains(&stream.index()) {
            ffi::AVDiscard::AVDISCARD_DEFAULT
        } else {
            ffi::AVDiscard::AVDISCARD_ALL
        };
        // SAFETY: the stream is valid and borrowed mutably; a plain field is written.
        unsafe { (*stream.as_mut_ptr()).discard = discard };
    }
}

/// Makes a filter graph compute in its caller's thread.
pub(super) fn single_threaded(graph: &mut filter::Graph) {
    // SAFETY: the graph is valid and not yet configured; a plain field is written.
    unsafe { (*graph.as_mut_ptr()).nb_threads = 1 };
}

/// Lets an encoder aim at a constant quality, in FFmpeg's scale of 1 (best) to 31.
pub(super) fn set_quality(context: &mut codec::Context, quality: i32) {
    // SAFETY: the context is valid and not yet opened; plain fields are written.
    unsafe {
        let context = &mut *context.as_mut_ptr();
        context.flags |= ffi::AV_CODEC_FLAG_QSCALE as i32;
        context.global_quality = quality * ffi::FF_QP2LAMBDA;
    }
}

/// The quality of one picture, in the same scale.
pub(super) fn set_picture_quality(picture: &mut frame::Video, quality: i32) {
    // SAFETY: the frame is valid and borrowed mutably; a plain field is written.
    unsafe { (*picture.as_mut_ptr()).quality = quality * ffi::FF_QP2LAMBDA };
}

/// The number of a pixel format, as filter arguments take it.
pub(super) fn pixel_format_number(format: format::Pixel) -> i32 {
    ffi::AVPixelFormat::from(format) as i32
}

/// The error for a value out of range.
pub(super) const fn invalid() -> ffmpeg_next::Error {
    ffmpeg_next::Error::Other { errno: EINVAL }
}
